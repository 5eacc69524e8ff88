"""The race: its paths are those of the published formulas, its sliders compile nothing, its pictures show it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from example_runs import compilations
from playwright.sync_api import Browser
from test_optimizers import BY_HAND

from lab_kit import race, race_plots
from lab_kit.optimizers import OPTIMIZERS
from lab_kit.race import SURFACES, Surface
from lab_kit.race_panel import RacePanel

GRADIENTS: dict[str, Callable[[float, float], list[float]]] = {
    "bowl": lambda x, y: [2 * x, 2 * y],
    "ravine": lambda x, y: [x / 10, 4 * y],
    "saddle": lambda x, y: [2 * x, -2 * y],
    "rosenbrock": lambda x, y: [-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)],
}
TITLES = {one.title for one in OPTIMIZERS.values()}
each_surface = pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)


def by_hand(optimizer: str, surface: Surface, rate: float, momentum: float, noise: np.ndarray) -> np.ndarray:
    """The path by the formulas of test_optimizers.py, in float64: each is given the gradients as it goes."""
    point, points, gradients = np.array(surface.start), [np.array(surface.start)], []
    for drawn in noise:
        gradients.append(np.array(GRADIENTS[surface.name](*point)) + drawn)
        *_, direction = BY_HAND[optimizer](gradients, [momentum] * len(gradients))
        point = point - rate * direction
        points.append(point)
    return np.array(points)


@each_surface
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_paths_are_those_of_the_published_formulas(optimizer: str, surface: Surface) -> None:
    rate = 2e-4 if surface.name == "rosenbrock" else 0.03
    noise = 0.3 * np.random.default_rng(5).standard_normal((12, 2))
    path = race.run(optimizer, surface, race.hyperparameters(rate, 0.8), noise=0.3, seed=5, steps=12)
    np.testing.assert_allclose(path.points, by_hand(optimizer, surface, rate, 0.8, noise), rtol=2e-3, atol=2e-4)
    assert path.left is None
    assert len(path.losses) == 13


@each_surface
def test_a_minimum_is_a_minimum_and_lies_in_the_picture(surface: Surface) -> None:
    if surface.lowest is None:
        return
    assert GRADIENTS[surface.name](*surface.lowest) == [0, 0]
    assert float(surface.height(np.array(surface.lowest))) == 0
    for value, limits in ((surface.lowest[0], surface.x), (surface.lowest[1], surface.y)):
        assert limits[0] < value < limits[1]


def test_a_path_that_diverges_ends_at_the_edge_with_a_cross_and_a_sentence() -> None:
    ravine = SURFACES["ravine"]
    path = race.run("sgd", ravine, race.hyperparameters(0.51))  # |y| is 1.04^t: above 1.6 from t = 12 on
    assert (path.left, path.lost) == (12, True)
    assert np.isfinite(path.points).all()
    assert np.isfinite(path.losses).all()
    assert race.words(path, ravine) == (
        "Stochastic gradient descent left the picture at step 12 for good: the learning rate is too great for it here."
    )
    for step in (None, 40):
        shown = race_plots.drawn(ravine, path, step)
        assert shown["marker"]["symbol"][-1] == "x"
        assert abs(shown["y"][-1]) == 1.6
        assert len(shown["x"]) == 13
    assert race_plots.drawn(ravine, path, 11)["marker"]["symbol"] == ["circle"] * 12


@each_surface
@pytest.mark.parametrize("rate", [0.7, 10.0, 1e30])
def test_no_rate_and_no_noise_is_an_error_and_every_mark_is_in_the_picture(surface: Surface, rate: float) -> None:
    for optimizer in ("momentum", "adam"):
        path = race.run(optimizer, surface, race.hyperparameters(rate, 0.99), noise=5)
        assert np.isfinite(path.points).all()
        assert race.words(path, surface).endswith(".")
        for step in (None, 0, 1, 3, race.STEPS):
            shown = race_plots.drawn(surface, path, step)
            last = np.array([[shown["x"][-1], shown["y"][-1]]])
            assert race.inside(surface, last).all()
        assert (race_plots.drawn(surface, path)["marker"]["symbol"][-1] == "x") == (path.left is not None)


def test_a_path_that_comes_back_has_not_left() -> None:
    bowl = SURFACES["bowl"]
    path = race.run("momentum", bowl, race.hyperparameters(1.2, 0.5))  # its first step ends at 2.8
    assert not race.inside(bowl, path.points).all()
    assert (path.left, path.lost) == (None, False)
    assert "ended at a loss of" in race.words(path, bowl)


def test_sliders_compile_nothing() -> None:
    panel = RacePanel("saddle")
    with compilations() as compiled:
        for rate in (1e-4, 0.3, 10.0):
            panel.controls["learning_rate"].value = rate
            panel.controls["momentum"].value = rate / 20
            panel.controls["noise"].value = rate / 5
    assert compiled == []


def shown(chart: go.FigureWidget) -> dict[str, np.ndarray]:
    return {trace.name: np.asarray(trace.x) for trace in chart.data if trace.visible and trace.name in TITLES}


def test_the_panel_shows_the_race_that_its_sliders_say() -> None:
    panel = RacePanel("ravine", learning_rate=0.1)
    chart, losses = panel._map, panel._losses
    before = shown(chart)
    assert list(before) == list(shown(losses)) == [OPTIMIZERS[path.optimizer].title for path in panel.paths]
    panel.controls["learning_rate"].value = 0.2
    after = shown(chart)
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    np.testing.assert_allclose(after["Momentum"], np.round(panel.paths[1].points[:, 0], 3))
    panel.controls["step"].value = 7
    assert {len(x) for x in shown(chart).values()} == {8}
    panel.play.value = 9
    assert {len(x) for x in shown(chart).values()} == {10}, "Play moves the step"
    panel.controls["surface"].value = "rosenbrock"
    assert chart.layout.xaxis.range == SURFACES["rosenbrock"].x
    assert (chart.data[1].x[0], chart.data[1].y[0]) == (1, 1)
    assert chart.data[0].z.max() > 3, "the wall of the valley is 2,500 high"


def test_who_runs_is_ticked_and_how_it_ended_is_said() -> None:
    panel = RacePanel("ravine")
    for name in ("momentum", "adagrad", "adam"):
        panel.racers.boxes[name].value = False
    panel.racers.boxes["lion"].value = True
    assert panel.controls["racers"].value == ("sgd", "lion")
    assert list(shown(panel._map)) == ["Stochastic gradient descent", "Lion"]
    panel.controls["learning_rate"].value = 0.51
    assert "✕ out at step 12" in panel.racers._ends["sgd"].value
    assert "left the picture at step 12 for good" in panel.words.value
    assert panel.racers._ends["adam"].value == ""
    panel.controls["racers"].value = ("adam",)
    assert [name for name, tick in panel.racers.boxes.items() if tick.value] == ["adam"]
    assert list(shown(panel._map)) == ["Adam"]
    panel.controls["racers"].value = ()
    assert shown(panel._map) == shown(panel._losses) == {}
    assert panel.figure().frames, "an empty race is still a figure"


@pytest.mark.parametrize("typed", ["0", "-1", "1e39", "much"])
def test_a_learning_rate_that_cannot_be_is_refused_in_words(typed: str) -> None:
    panel = RacePanel()
    rate = panel.controls["learning_rate"]
    rate.box.value = typed
    assert rate.value == 0.1
    assert "Learning rate stays at 0.1" in rate.note.value


def test_the_panel_follows_the_page() -> None:
    panel = RacePanel()
    light = [trace.line.color for trace in panel._map.data[2:]]
    panel._page.dark, panel._page.width = True, 500
    assert all(trace.line.color != before for trace, before in zip(panel._map.data[2:], light, strict=True))
    for chart in (panel._map, panel._losses):
        assert chart.layout.template.layout.font.color == "#E6E6E6"
        assert chart.layout.width == 500
    assert panel._map.data[3].line.color in panel.racers._ends["sgd"].value
    panel._page.width = 0  # a page that is hidden
    assert panel._map.layout.width == 500


def test_the_animation_plays_all_of_the_race() -> None:
    panel = RacePanel("bowl", learning_rate=0.05)
    figure = panel.figure()
    assert figure.frames[0].name == "0"
    assert [len(trace.x) for trace in figure.frames[0].data] == [1] * 4
    assert [len(trace.x) for trace in figure.frames[-1].data] == [race.STEPS + 1] * 4
    assert [step.label for step in figure.layout.sliders[0].steps] == [frame.name for frame in figure.frames]
    losses = race_plots.losses(SURFACES["bowl"], panel.paths)
    np.testing.assert_allclose(losses.data[0].y, np.maximum(panel.paths[0].losses, 1e-12))


@pytest.mark.slow
@pytest.mark.browser
def test_the_ground_stays_when_the_slider_moves(tmp_path: Path, browser: Browser) -> None:
    RacePanel("ravine").figure().write_html(tmp_path / "race.html", include_plotlyjs=True, auto_play=False)
    view = browser.new_page()
    view.goto((tmp_path / "race.html").as_uri())
    levels = view.locator(".contourlayer .contourlevel path")
    levels.first.wait_for(state="attached")
    drawn, lines = levels.count(), view.locator(".scatterlayer path.js-line")
    before = [line.get_attribute("d") for line in lines.all()]
    assert drawn > 5
    view.locator(".slider-rail-touch-rect").click()  # in its middle
    view.wait_for_function(
        "before => JSON.stringify([...document.querySelectorAll('.scatterlayer path.js-line')].map("
        "line => line.getAttribute('d'))) !== before",
        arg=json.dumps(before, separators=(",", ":")),
    )
    view.wait_for_timeout(500)
    assert levels.count() == drawn
    view.close()
