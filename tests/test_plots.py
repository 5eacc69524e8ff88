"""What the charts show must be what the numbers say; each figure must survive the trip to JSON."""

import json
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import plotly.io
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from lab_kit import plots, runs


@dataclass(frozen=True)
class Record:
    epoch: float
    train: dict[str, float]
    validation: dict[str, float] | None
    best: bool = False
    step: int = 0
    rows_seen: int = 0
    rows_per_second: float = 0.0
    seconds: float = 0.0
    gradient_norm: float = 0.0
    rate: float = 0.0
    outcome: str | None = None
    hyperparameters: dict[str, float] = field(default_factory=dict)


RECORDS = [
    Record(0.0, {"loss": 0.7, "auc": 0.5}, {"loss": 0.71, "auc": 0.49}, best=True),
    Record(0.5, {"loss": 0.6, "auc": 0.6}, None),
    Record(1.0, {"loss": 0.5, "auc": 0.7}, {"loss": 0.55, "auc": 0.66}, best=True),
    Record(2.0, {"loss": 0.4, "auc": 0.8}, {"loss": 0.60, "auc": 0.67}),
]
RANDOM = np.random.default_rng(0)
TARGET = RANDOM.integers(0, 2, 500)
PROBABILITY = np.clip(0.5 * TARGET + RANDOM.uniform(0, 0.6, 500), 0, 1)
TABLE = pl.DataFrame(
    {
        "distance": [100.0, 200.0, float("nan"), None],
        "carrier": ["AA", "AA", "01", None],
        "time": [datetime(2013, 1, day) for day in (1, 2, 3, 4)],
        "late": [True, False, None, True],
        "empty": pl.Series([None] * 4, dtype=pl.Float64),
        "nested": [[1], [2], [3], [4]],
    }
)
LEDGER = pl.DataFrame(
    {
        "number": [1, 2, 2],
        "step": ["deduplicate", "fill", "fill"],
        "column": [None, "temp", "wind"],
        "rows_before": [100, 90, 90],
        "rows_after": [90, 90, 90],
        "rows_removed": [10, 0, 0],
        "cells_changed": [0, 7, 3],
    }
)
CURVE = {"MLP": (np.linspace(0, 1, 5_000), np.linspace(0, 1, 5_000) ** 0.5, 0.7)}


def figures(dark=False):
    yield plots.table_overview(TABLE, {"distance": "miles"}, dark=dark)
    yield plots.missing_values(TABLE, dark=dark)
    yield plots.ledger(LEDGER, dark=dark)
    yield plots.learning_curves(RECORDS, dark=dark)
    yield plots.confusion([[3, 1], [2, 4]], ("on time", "late"), dark=dark)
    yield plots.roc(CURVE, dark=dark)
    yield plots.precision_recall(CURVE, 0.3, dark=dark)
    yield plots.calibration({"MLP": ([0.1, 0.5], [0.2, 0.4], [10, 20])}, dark=dark)
    yield plots.threshold_slider(TARGET, PROBABILITY, ("on time", "late"), dark=dark)
    yield plots.comparison({"MLP": (0.70, 0.69, 0.71), "boosting": (0.69, 0.68, 0.70)}, dark=dark)
    yield plots.predicted_actual([1.0, 2.0, 3.0], [1.1, 1.9, 3.2], "mg/dl", dark=dark)


@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_complete_json_with_its_own_look_and_axis_titles(dark):
    before = plotly.io.templates.default
    for figure in figures(dark):
        layout = json.loads(figure.to_json())["layout"]
        assert layout["template"]["layout"]["colorway"][0] == plots.colours(dark)[0]
        titles = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
        titles += [note.text for note in figure.layout.annotations]
        assert any(titles), figure
        assert json.loads(plotly.io.from_json(figure.to_json()).to_json()) == json.loads(figure.to_json())
    assert plotly.io.templates.default == before


def test_overview_counts_every_known_value_and_leaves_nested_columns_out():
    figure = plots.table_overview(TABLE)
    assert [note.text for note in figure.layout.annotations] == [
        "distance",
        "carrier",
        "time",
        "late",
        "empty",
    ]
    counts = [trace.x if trace.orientation == "h" else trace.y for trace in figure.data]
    assert [int(np.sum(each)) for each in counts] == [2, 3, 4, 3, 0]
    assert list(figure.data[1].y) == ["AA", "01"]
    assert [str(day)[:10] for day in figure.data[2].x] == [
        "2013-01-01",
        "2013-01-02",
        "2013-01-03",
        "2013-01-04",
    ]


def test_overview_says_how_many_rows_it_shows_and_how_many_values_it_leaves_out():
    frame = pl.DataFrame({"rows": [f"a name that is long, {k}" for k in range(11)] + ["most"] * 2, "few": ["x"] * 13})
    figure = plots.table_overview(frame, total=1_000)
    assert figure.layout.title.text == "Distributions in a sample of 13 of 1,000 rows"
    for total in (None, 13):
        assert plots.table_overview(frame, total=total).layout.title.text == "Distributions in 13 rows"
    assert [note.text for note in figure.layout.annotations] == ["rows, 8 of 12", "few"]
    names = figure.data[0]
    assert (len(names.y), len(set(names.y)), names.y[0], names.x[0]) == (8, 8, "most", 2)
    assert max(map(len, names.text)) <= 12
    assert list(names.textposition) == ["inside"] + ["outside"] * 7  # "most" has the room


def test_weekdays_come_in_the_order_of_the_week_and_other_names_by_their_number():
    days = ["Sunday"] * 3 + ["Friday"] * 2 + ["Monday"]
    shown = plots.table_overview(pl.DataFrame({"day": days, "name": [*days[:5], "Mon"]})).data
    assert [list(trace.y) for trace in shown] == [["Monday", "Friday", "Sunday"], ["Sunday", "Friday", "Mon"]]
    assert [list(trace.x) for trace in shown] == [[1, 2, 3], [3, 2, 1]]


def test_overview_of_a_large_column_keeps_all_rows_in_few_bars():
    frame = pl.DataFrame({"x": np.append(RANDOM.normal(size=9_999), 1e6)})
    (bars,) = plots.table_overview(frame, bins=40).data
    assert len(bars.y) == 40
    assert np.sum(bars.y) == 10_000
    assert max(bars.x) < 5  # one wild value does not squeeze the others into one bar


def test_missing_values_count_null_and_nan_and_leave_complete_columns_out():
    (bars,) = plots.missing_values(TABLE).data
    assert dict(zip(bars.y, bars.x, strict=True)) == {"carrier": 25, "late": 25, "distance": 50, "empty": 100}
    assert "none" in plots.missing_values(TABLE.select("time")).layout.title.text


def test_ledger_bars_add_up():
    removed, changed = plots.ledger(LEDGER).data
    assert sum(removed.x) == 10
    assert sum(changed.x) == 10
    assert "90 rows remain" in plots.ledger(LEDGER).layout.title.text


def test_learning_curves_skip_records_without_validation_and_mark_the_last_best_epoch():
    train, validation, best, _, _, metric, best_metric, _ = plots.learning_curves(RECORDS).data
    assert list(train.x) == [0, 0.5, 1, 2]
    assert list(validation.y) == [0.71, 0.55, 0.60]
    assert (list(best.x), list(best.y)) == ([1.0], [0.55])
    assert list(metric.y) == [0.49, 0.66, 0.67]
    assert list(best_metric.y) == [0.66]


def test_learning_curves_of_no_record_hold_one_nan_in_each_trace():
    for trace in plots.learning_curves([]).data:
        assert len(trace.x) == len(trace.y) == 1
        assert np.isnan(trace.y[0])


def test_a_history_frame_and_its_records_draw_the_same():
    frame = runs.history(map(runs.row, RECORDS))
    assert plots.learning_curves(frame) == plots.learning_curves(RECORDS)


@pytest.mark.parametrize("threshold", [0.0, 0.31, 0.5, 0.9])
def test_threshold_table_agrees_with_scikit_learn(threshold):
    row = plots.threshold_table(TARGET, PROBABILITY, [threshold]).row(0, named=True)
    called = (threshold <= PROBABILITY).astype(int)
    assert row["precision"] == pytest.approx(precision_score(TARGET, called))
    assert row["recall"] == pytest.approx(recall_score(TARGET, called))
    assert row["f1"] == pytest.approx(f1_score(TARGET, called))


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40),
    st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted),
)
def test_thresholds_account_for_every_row_and_a_higher_one_calls_fewer(rows, thresholds):
    target, probability = [float(hit) for hit, _ in rows], [score for _, score in rows]
    table = plots.threshold_table(target, probability, thresholds)
    cells = ["true_positive", "false_positive", "false_negative", "true_negative"]
    assert (table.select(pl.sum_horizontal(cells)).to_series() == len(rows)).all()
    called = (table["true_positive"] + table["false_positive"]).to_list()
    assert called == sorted(called, reverse=True)


def test_threshold_slider_has_a_frame_for_each_position_and_starts_where_it_says():
    figure = plots.threshold_slider(TARGET, PROBABILITY, start=0.3)
    (slider,) = figure.layout.sliders
    assert len(slider.steps) == len(figure.frames) == 51
    assert [step.args[0][0] for step in slider.steps] == [frame.name for frame in figure.frames]
    assert slider.steps[slider.active].label == "0.30"
    for frame in (figure.frames[0], figure.frames[slider.active], figure.frames[-1]):
        counts = [int(cell.replace(",", "")) for line in frame.data[0].text for cell in line]
        assert sum(counts) == 500
    assert figure.data[0].text == figure.frames[slider.active].data[0].text
    row = plots.threshold_table(TARGET, PROBABILITY, [0.3]).row(0, named=True)
    words = [f"{name}<br>{row[name.lower()]:.3f}" for name in ("precision", "recall", "F1")]
    assert list(figure.data[2].text) == list(figure.frames[slider.active].data[2].text) == words
    assert np.min(np.abs(np.diff(figure.data[2].y))) > 0.15  # two lines each, of 14 of some 330 pixels


def test_a_long_curve_is_thinned_to_its_shape_and_keeps_its_ends():
    curve = plots.roc(CURVE).data[0]
    assert len(curve.x) <= 400
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.abs(np.asarray(curve.y) - np.sqrt(curve.x)).max() < 1e-9
    assert curve.name == "MLP (AUC 0.700)"


def test_confusion_shows_counts_and_the_share_of_the_actual_class():
    (heat,) = plots.confusion([[3, 1], [0, 0]], ("no", "yes")).data
    assert heat.text[0][0] == "3<br>75.0 %"
    assert np.asarray(heat.z).tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_comparison_draws_the_interval_it_was_given():
    trace = plots.comparison({"MLP": (0.70, 0.69, 0.72)}).data[0]
    assert trace.x[0] + trace.error_x.array[0] == pytest.approx(0.72)
    assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(0.69)


def test_predicted_actual_draws_a_sample_of_many_rows():
    values = np.arange(10_000.0)
    rows, line = plots.predicted_actual(values, values + 1, most=100).data
    assert len(rows.x) == 100
    assert tuple(line.x) == (0.0, 10_000.0)
