"""Figures of sweeps and searches: what their traces say is what was measured, and a report keeps the slider."""

import json
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest

from lab_kit import page, search_plots, sweep_plots
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.search import Trial
from lab_kit.sweep_curves import Curves
from lab_kit.sweep_plots import fan, heat

RATES = (0.001, 0.01, 0.1)


def one_axis() -> Curves:
    """Three rates, two seeds, epochs 0 to 2; one run of the highest rate diverged in the last epoch."""
    loss = np.array([
        [[1.0, 1.2], [1.0, 1.2], [1.0, 1.2]],
        [[0.8, 0.9], [0.4, 0.6], [0.3, 2.0]],
        [[0.7, 0.7], [0.5, 0.5], [0.2, np.nan]],
    ])  # fmt: skip
    train = np.concatenate([np.full((1, 3, 2), np.nan), loss[1:] / 2])
    measures = {"loss": loss, "auc": 1 - loss, "train_loss": train}
    return Curves({"learning_rate": RATES}, (0, 1), np.arange(3.0), measures, np.isnan(loss[-1]))


def two_axes() -> Curves:
    """The loss is 1 + the place on the first axis + ten times that on the second, at the second epoch; best at 0, 1."""
    loss = np.array([[1.0 + first + 10 * second for second in range(3)] for first in range(2)])
    loss[0, 1] = 0.25
    both = np.stack([loss + 5, loss])[..., None]
    axes = {"weight_decay": (0.0, 0.1), "dropout": (0.0, 0.2, 0.4)}
    return Curves(axes, (7,), np.arange(2.0), {"loss": both, "train_loss": both}, np.zeros((2, 3, 1), np.bool_))


def named(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data}


def test_a_fan_shows_means_the_band_of_the_seeds_and_where_each_value_ends() -> None:
    figure = fan(one_axis())
    traces = named(figure)
    assert (
        figure.layout.sliders[0].active == 1
    )  # the best by the mean over seeds of the lowest loss, that did not diverge
    np.testing.assert_allclose(traces["validation, mean"].y, [1.1, 0.5, 0.5])
    np.testing.assert_allclose(traces["training, mean"].y, [np.nan, 0.25, 0.25])
    band = traces["lowest to highest seed"]
    assert band.x.tolist() == [0, 1, 2, 2, 1, 0]
    assert band.y.tolist() == [1.0, 0.4, 0.5, 0.5, 0.6, 1.2]
    at_best = traces["at its best epoch"]
    assert list(at_best.x) == ["0.001", "0.01", "0.1"]
    np.testing.assert_allclose(at_best.y, [0.7, 0.45, np.nan])
    np.testing.assert_allclose(at_best.error_y.array[:2], [0, 0.05], atol=1e-12)
    np.testing.assert_allclose(at_best.error_y.arrayminus[:2], [0, 0.05], atol=1e-12)
    others = traces["other values"]
    np.testing.assert_allclose(others.y, [1.1, 0.85, 0.7, np.nan, 1.1, 0.5, 0.5, np.nan, 1.1, 1.15, np.nan, np.nan])
    assert others.text[4] == "0.01"
    assert "learning rate" in figure.layout.title.text.lower()


def test_each_step_of_the_slider_is_a_frame_with_the_curves_of_its_value() -> None:
    figure = fan(one_axis())
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0.001", "0.01", "0.1"]
    frames = {frame.name: frame for frame in figure.frames}
    for place, step in enumerate(slider.steps):
        assert step.method == "animate"
        frame = frames[step.args[0][0]]
        fresh = fan(one_axis(), place=place).data
        for trace, moved in zip(frame.traces, frame.data, strict=True):
            np.testing.assert_array_equal(np.asarray(moved.y), np.asarray(fresh[trace].y))
            np.testing.assert_array_equal(np.asarray(moved.x), np.asarray(fresh[trace].x))
    still = set(range(len(figure.data))) - set(sweep_plots.MOVING)
    for trace in still:  # what no frame moves is the same for each value
        np.testing.assert_array_equal(fan(one_axis(), place=0).data[trace].y, fan(one_axis(), place=2).data[trace].y)


def test_a_fan_of_two_axes_holds_the_best_value_of_the_other() -> None:
    along_dropout = fan(two_axes(), along="dropout")
    assert "with weight decay 0" in along_dropout.layout.title.text
    np.testing.assert_allclose(named(along_dropout)["at its best epoch"].y, [1, 0.25, 21])
    along_decay = fan(two_axes(), along="weight_decay")
    assert "with dropout 0.2" in along_decay.layout.title.text
    np.testing.assert_allclose(named(along_decay)["at its best epoch"].y, [0.25, 12])
    np.testing.assert_allclose(named(along_decay)["validation, mean"].y, [5.25, 0.25])


def test_the_axis_is_not_stretched_by_the_worst_runs() -> None:
    losses = np.ones((3, 8, 1)) * [[[2.0]], [[0.5]], [[0.4]]] + np.arange(8)[None, :, None] / 100
    losses[1:, 7] = 1e6
    table = Curves(
        {"dropout": tuple(np.arange(8) / 10)}, (0,), np.arange(3.0), {"loss": losses}, np.zeros((8, 1), bool)
    )
    low, high = fan(table).layout.yaxis.range
    assert low < 0.4 < 0.5 < high < 2
    low, high = fan(table).layout.yaxis2.range
    assert low < 0.4 < 0.43 < high < 2


@pytest.mark.parametrize(("dark", "measure"), [*product((False, True), ("loss", "auc"))])
def test_what_diverged_everywhere_says_so(dark: bool, measure: str) -> None:
    table = one_axis()
    gone = np.array([[False, False], [False, False], [True, True]])
    table = Curves(table.axes, table.seeds, table.epochs, table.measures, gone)
    assert sweep_plots.values_in_words(table, "learning_rate") == ["0.001", "0.01", "0.1 diverged"]
    assert fan(table, measure, dark=dark).layout.sliders[0].steps[2].label == "0.1 diverged"
    all_gone = Curves(table.axes, table.seeds, table.epochs, table.measures, np.ones((3, 2), np.bool_))
    assert fan(all_gone, measure, dark=dark).layout.sliders[0].active == 0


def test_a_heat_map_has_a_row_for_each_value_of_the_first_axis_and_frames_the_best() -> None:
    figure = heat(two_axes())
    (cells,) = figure.data
    assert (list(cells.y), list(cells.x)) == (["0", "0.1"], ["0", "0.2", "0.4"])
    np.testing.assert_allclose(cells.z, [[1, 0.25, 21], [2, 12, 22]])
    assert cells.text[0][1] == "0.2500"
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, -0.5, 0.5)
    with pytest.raises(LabError, match="two axes"):
        heat(one_axis())


def test_a_cell_of_a_heat_map_that_diverged_is_named() -> None:
    table = two_axes()
    table.diverged[1, 2, 0] = True
    figure = heat(table)
    assert np.isnan(figure.data[0].z[1, 2])
    (note,) = figure.layout.annotations
    assert (note.x, note.y, note.text) == (2, 1, "diverged")


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances (Web Content Accessibility Guidelines 2.1, 1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_the_numbers_in_a_heat_map_can_be_read_on_each_shade(dark: bool) -> None:
    (cells,) = heat(two_axes(), dark=dark).data
    assert min(contrast(cells.textfont.color, shade) for _, shade in cells.colorscale) >= 4.5
    assert cells.colorscale[0][1] != heat(two_axes(), "loss", not dark).data[0].colorscale[0][1]


def trials() -> list[Trial]:
    found = []
    for number, (layers, optimizer, rate, loss, outcome) in enumerate([
        (1, "adamw", 0.001, 0.5, "finished"), (2, "sgd", 0.1, 0.4, "finished"), (1, "sgd", 0.01, 0.9, "pruned"),
        (3, "adamw", 0.01, 0.3, "finished"),
    ]):  # fmt: skip
        values = {"layers": layers, "optimizer": optimizer, "learning_rate": rate}
        found.append(Trial(number, values, TrainConfig(), (1.0, loss), loss, {"loss": loss}, outcome, 1.0))
    return found


def test_parallel_coordinates_have_a_line_for_each_trial_that_ran_to_its_end() -> None:
    figure = search_plots.parallel(trials())
    (lines,) = figure.data
    layers, optimizer, rate, loss = lines.dimensions
    assert [dimension.label for dimension in lines.dimensions] == [
        "layers",
        "optimizer",
        "learning rate",
        "validation loss",
    ]
    assert [layers.ticktext[place] for place in layers.values] == ["1", "2", "3"]
    assert [optimizer.ticktext[place] for place in optimizer.values] == ["adamw", "sgd", "adamw"]
    np.testing.assert_allclose(rate.values, [-3, -1, -2])
    assert list(loss.values) == [0.5, 0.4, 0.3]
    assert "3 trials, and 1 cut short" in figure.layout.title.text
    with pytest.raises(LabError, match="ran to its end"):
        search_plots.parallel(trials()[2:3])


def test_importances_are_bars_in_their_order() -> None:
    figure = search_plots.importance({"learning_rate": 0.7, "layers": 0.298, "dropout": 0.002})
    (bars,) = figure.data
    assert list(bars.y) == ["learning rate", "layers", "dropout"]
    assert list(bars.x) == [0.7, 0.298, 0.002]
    assert list(bars.text) == ["70 %", "30 %", "< 1 %"]
    assert figure.layout.yaxis.autorange == "reversed"  # the first on top


def test_a_report_keeps_the_slider_and_all_its_frames(tmp_path: Path) -> None:
    """A report draws what is in the figure's mime bundle, without a kernel."""
    spec = nbformat.from_dict({page.PLOTLY: json.loads(fan(one_axis()).to_json())})
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", spec)])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"), cell])
    text = page.render("t", [page.Chapter("06", tmp_path, notebook)], {}, {}, "")
    chart = text[text.index("<figure") : text.index("</figure>")]
    assert chart.count('"method":"animate"') == 3
    assert '"frames":[{' in chart
    assert '"prefix":"learning rate "' in chart
    for name in ("0", "1", "2"):
        assert f'"name":"{name}"' in chart
