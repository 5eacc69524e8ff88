"""A table that stays on disk is encoded, trained on and saved as one in memory is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lab_kit import datasets, evaluate, features, runs, splits, workspace
from lab_kit.arrays import Rows
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.stream import Stream
from lab_kit.train import Record, fit

CARD = datasets.card("health")


def quiet(line: str) -> None:
    pass


def whole(stream: Stream) -> Rows:
    return stream.read(list(range(len(stream.shards))))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def test_streamed_rows_are_those_in_memory(place: Path) -> None:
    memory = workspace.prepared(CARD, place, quiet)
    streamed = workspace.prepared(CARD, place, quiet, stream=True)
    assert streamed.encoder == memory.encoder
    for split in splits.SPLITS:
        one, other = getattr(memory, split), whole(getattr(streamed, split))
        for column, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(same, column, strict=True)


def test_a_model_of_a_stream_is_measured_and_saved_like_any(place: Path) -> None:
    memory, streamed = (workspace.prepared(CARD, place, quiet, stream=stream) for stream in (False, True))
    config = TrainConfig((6,), batch_size=32, epochs=2)
    run = runs.load(workspace.train(streamed, config, place))
    (first,) = (
        record for record in fit(memory.train, memory.validation, memory.encoder.signature, config) if not record.step
    )
    (again,) = (
        record
        for record in fit(streamed.train, streamed.validation, streamed.encoder.signature, config)
        if not record.step
    )
    assert again.validation == pytest.approx(first.validation, rel=1e-6)
    of_memory, of_stream = (evaluate.predict(run.network, run.weights, data.validation) for data in (memory, streamed))
    np.testing.assert_allclose(of_stream, of_memory, rtol=1e-6)
    np.testing.assert_array_equal(evaluate.targets(streamed.validation), memory.validation.target)
    assert (workspace.bundled(streamed, run, place) / "weights.safetensors").is_file()


def test_a_run_goes_on_where_its_rows_came_from(place: Path) -> None:
    """In memory and from disk the rows come in another order, so the run would not be the same to the bit."""
    memory, streamed = (workspace.prepared(CARD, place, quiet, stream=stream) for stream in (False, True))

    def stop(record: Record) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt

    for begun, other, way in ((streamed, memory, "with"), (memory, streamed, "without")):
        with pytest.raises(KeyboardInterrupt):
            workspace.train(begun, TrainConfig((6,), batch_size=32, epochs=2), place, stop)
        folder = max((place / "health" / "runs").iterdir())
        with pytest.raises(LabError, match=f"was begun {way} --stream, .* resume it {way} --stream"):
            workspace.resume(other, folder)
        workspace.resume(begun, folder)
        assert json.loads((folder / "outcome.json").read_text())["outcome"] == "finished"


def test_streams_are_built_once_and_again_when_they_are_damaged(place: Path) -> None:
    said: list[str] = []
    workspace.prepared(CARD, place, said.append, stream=True)
    assert said == []
    (place / "health" / "features" / "test" / "stream.json").write_text("{")
    workspace.prepared(CARD, place, said.append, stream=True)
    assert said == [f"Encoding the test rows as shards in {place / 'health' / 'features' / 'test'} ..."]


def test_encoding_in_pieces_is_encoding_at_once(place: Path) -> None:
    table = workspace.cleaned(CARD, place, quiet)
    encoder = workspace.prepared(CARD, place, quiet).encoder
    pieces = list(features.encode_batches(encoder, table.frame, size=50))
    at_once = features.encode(encoder, table.frame)
    assert len(pieces) > 1
    for column, parts in zip(at_once, zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), column)


def test_a_value_that_cannot_be_encoded_leaves_no_half_of_a_stream(place: Path, tmp_path: Path) -> None:
    encoder = workspace.prepared(CARD, place, quiet).encoder
    frame = workspace.cleaned(CARD, place, quiet).frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 300).then(pl.lit("maybe")).otherwise(pl.col(encoder.target).cast(pl.String))
        .alias(encoder.target)
    )  # fmt: skip
    from lab_kit.stream import write_stream

    with pytest.raises(LabError, match="maybe"):
        write_stream(features.encode_batches(encoder, frame, size=50), tmp_path / "rows", rows_per_shard=60)
    assert list(tmp_path.iterdir()) == []


def test_a_large_table_takes_its_medians_from_an_even_sample(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = workspace.cleaned(CARD, place, quiet).frame.filter(pl.col("split") == "train")
    exact = features.fit_encoder(train, CARD)
    monkeypatch.setattr(features, "ROWS_FOR_MEDIANS", 200)
    sampled = features.fit_encoder(train, CARD)
    rows = train.collect()
    every = -(-rows.height // 200)
    assert every > 1
    for before, after in zip(exact.numeric, sampled.numeric, strict=True):
        assert after.median == rows[before.name].gather_every(every).median()
        assert (after.mean, after.std) == (before.mean, before.std), "a sample only where nothing depends on it"


@pytest.mark.slow
def test_the_command_trains_from_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab_kit", "train", "--dataset", "health", "--stream", "--epochs", "2"],
        env=os.environ | {"LAB_KIT_WORKSPACE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The bundle is" in done.stdout
    assert (tmp_path / "health" / "features" / "train" / "stream.json").is_file()
    assert not (tmp_path / "health" / "features" / "rows.safetensors").exists()
