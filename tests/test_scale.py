"""What notebook 07 measures with: the figures are of the runs they say, and the charts show them."""

import numpy as np
import pytest
from example_rows import rows, signature

from lab_kit import scale, scale_plots
from lab_kit.config import TrainConfig
from lab_kit.scale import Speed

CONFIG = TrainConfig((6,), batch_size=10, epochs=1, patience=1)


def test_a_speed_is_of_rows_that_were_trained_on_and_has_its_spread() -> None:
    found = scale.speed(rows("binary", 80), rows("binary", 41, 1), signature("binary"), CONFIG, seconds=0.3)
    assert 0 < found.low <= found.rows_per_second <= found.high
    assert found.config == CONFIG
    assert 0 < found.validation_loss < 1, "it goes on beyond the epochs and the patience of the configuration"


def test_a_run_that_diverges_ends_the_measurement() -> None:
    wild = TrainConfig((6,), optimizer="sgd", batch_size=10, learning_rate=1e30)
    found = scale.speed(rows("regression", 80), rows("regression", 41, 1), signature("regression"), wild, seconds=60)
    assert found.rows_per_second > 0


def test_generated_rows_are_the_same_again_and_can_be_learnt() -> None:
    one, of = scale.generated(2000)
    again, _ = scale.generated(2000)
    np.testing.assert_array_equal(one.numeric, again.numeric)
    assert one.numeric.shape == (2000, of.numeric) == (2000, scale.COLUMNS)
    assert 0.3 < one.target.mean() < 0.7
    clean = (one.numeric[:, 0] * one.numeric[:, 1] + 0.5 * one.numeric[:, 2]) > 0
    assert (clean == one.target).mean() > 0.8


@pytest.mark.slow
def test_the_memory_of_a_process_counts_the_table_that_is_in_it() -> None:
    table = 1_000_000 * 4 * (scale.COLUMNS + 1)
    peaks = scale.peaks((1_100_000, 100_000), streamed=False)
    more = peaks[1_100_000] - peaks[100_000]
    assert 0.9 * table < more < 3 * table


def speeds(**changed: list[int]) -> list[Speed]:
    (name, values), *_ = changed.items()
    return [
        Speed(TrainConfig(**{name: value}), 1e6 * place, 0.9e6 * place, 1.2e6 * place, None)
        for place, value in enumerate(values, 1)
    ]


def test_the_charts_show_the_figures() -> None:
    figure = scale_plots.speed_by_batch({"in memory": speeds(batch_size=[32, 512])})
    assert list(figure.data[0].y) == [1, 2]
    np.testing.assert_allclose(figure.data[0].error_y.array, [0.2, 0.4])
    np.testing.assert_allclose(figure.data[0].error_y.arrayminus, [0.1, 0.2])
    assert list(figure.layout.xaxis.ticktext) == ["32", "512"]
    gain = scale_plots.gain_by_devices({32: speeds(devices=[1, 2])})
    assert [list(trace.y) for trace in gain.data] == [[1, 2], [1, 2]], "the ideal, and what was measured"
    memory = scale_plots.memory_by_rows({"in memory": {1_000_000: 2**30, 2_000_000: 2**31}})
    assert list(memory.data[0].y) == [1, 2]
