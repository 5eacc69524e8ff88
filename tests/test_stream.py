"""Encoded rows on disk: what is written is read again, and what is damaged is named."""

import json
import os
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from example_rows import TASKS, part, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lab_kit import memory, stream
from lab_kit.arrays import ALIGNMENT, Rows, Task
from lab_kit.schema import LabError
from lab_kit.stream import MANIFEST, Stream, open_stream, write_stream

TABLE = rows("binary", 50)


def joined(parts: list[Rows]) -> Rows:
    return Rows(*map(np.concatenate, zip(*parts, strict=True)))


def check_equal(found: Rows, expected: Rows) -> None:
    for column, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(column, other)
        assert column.dtype == other.dtype


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    rows_per_shard=st.integers(1, 60),
    task=st.sampled_from(TASKS),
)
@settings(max_examples=40)
def test_what_is_written_is_read_again(sizes: list[int], rows_per_shard: int, task: Task) -> None:
    parts = [rows(task, size, seed) for seed, size in enumerate(sizes)]
    whole = joined(parts)
    with tempfile.TemporaryDirectory() as folder:
        written = write_stream(iter(parts), Path(folder) / "a" / "rows", rows_per_shard, "of these")
        stream = open_stream(written.folder)
        assert stream == written
        assert stream.fingerprint == "of these"
        assert stream.count == sum(sizes) == sum(shard.rows for shard in stream.shards)
        assert {shard.rows for shard in stream.shards[:-1]} <= {rows_per_shard}
        assert 1 <= stream.shards[-1].rows <= rows_per_shard
        numbers = range(len(stream.shards))
        check_equal(stream.read(list(numbers)), whole)
        check_equal(joined([stream.read([number]) for number in numbers]), whole)
        check_equal(stream.read([numbers[-1], 0]), joined([stream.read([numbers[-1]]), stream.read([0])]))
        check_equal(stream.likeness, part(whole, slice(0, 0)))
        assert sorted(os.listdir(folder)) == ["a"]
        assert sorted(os.listdir(Path(folder) / "a")) == ["rows"], "no temporary folder stays"


def test_the_bytes_of_a_row_by_hand(tmp_path: Path) -> None:
    assert write_stream([TABLE], tmp_path / "rows").row_bytes == 3 * 4 + 2 * 4 + 4


@pytest.mark.parametrize("gone", ["numeric", "categorical"])
def test_inputs_of_one_kind_only(tmp_path: Path, gone: str) -> None:
    table = TABLE._replace(**{gone: getattr(TABLE, gone)[:, :0]})
    check_equal(write_stream([table], tmp_path / "rows", 20).read([0, 1, 2]), table)


def test_only_about_a_shard_is_in_memory(tmp_path: Path) -> None:
    """Shards appear while the source is still at it."""
    folder, found = tmp_path / "rows", []

    def source() -> Iterator[Rows]:
        for start in range(0, 50, 10):
            found.append(len(list(tmp_path.glob("**/*.safetensors"))))
            yield part(TABLE, slice(start, start + 10))

    write_stream(source(), folder, rows_per_shard=10)
    assert found == [0, 1, 2, 3, 4]


def test_a_source_is_copied_not_kept(tmp_path: Path) -> None:
    table = rows("binary", 5)
    one = part(table, slice(0, 5))

    def source() -> Iterator[Rows]:
        yield one
        yield rows("binary", 5, seed=1)

    stream = write_stream(source(), tmp_path / "rows", rows_per_shard=5)
    one.numeric[:] = 0
    check_equal(stream.read([0]), rows("binary", 5))


# Read past the page cache.

LARGE = rows("binary", 3 * 1024 + 50)
SHARDS = [2, 0, 3, 1]
EXPECTED = part(LARGE, np.concatenate([np.arange(n * 1024, min((n + 1) * 1024, LARGE.count)) for n in SHARDS]))


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine too small for any stream; the kinds of file of which a column is read."""
    read, fill = [], stream._fill
    monkeypatch.setattr(memory, "allowed", lambda: 1)
    monkeypatch.setattr(stream, "_fill", lambda *of: (read.append(type(of[1]).__name__), fill(*of)))
    return read


@pytest.fixture
def table(tmp_path: Path, direct: list[str]) -> Stream:
    """``LARGE`` in shards of whole pages, of which the last is short; where they can be read past the cache."""
    made = write_stream([LARGE], tmp_path / "rows", 1024)
    if not made.past_cache:
        pytest.skip("this system or its file system cannot read past the page cache")
    direct.clear()
    return made


def test_full_shards_are_read_past_the_cache_and_the_last_one_through_it(table: Stream, direct: list[str]) -> None:
    check_equal(table.read(SHARDS, table.empty(LARGE.count)), EXPECTED)
    # After the short shard the memory of the next no longer begins with a page.
    assert direct == ["FileIO"] * 6 + ["BufferedReader"] * 6


def test_what_other_processes_read_as_well_is_read_through_the_cache(table: Stream, direct: list[str]) -> None:
    check_equal(table.read(SHARDS, shared=True), EXPECTED)
    assert set(direct) == {"BufferedReader"}


def test_a_file_system_without_it_is_read_through_the_cache(
    table: Stream, direct: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> FileIO:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(stream, "_direct", refuse)
    again = open_stream(table.folder)
    check_equal(again.read(SHARDS), EXPECTED)
    assert set(direct) == {"BufferedReader"}


def test_a_file_system_that_wants_larger_pages_is_read_through_the_cache(
    table: Stream, direct: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = stream._fill

    def picky(place: np.ndarray, file: FileIO, position: int) -> None:
        if isinstance(file, FileIO) and position % 65_536:
            raise OSError(22, "Invalid argument")
        fill(place, file, position)

    monkeypatch.setattr(stream, "_fill", picky)
    check_equal(open_stream(table.folder).read(SHARDS), EXPECTED)


def test_shards_that_are_no_whole_pages_are_read_through_the_cache(tmp_path: Path, direct: list[str]) -> None:
    found = write_stream([LARGE], tmp_path / "rows", 1000)
    assert not found.past_cache
    check_equal(found.read([0, 1]), part(LARGE, slice(0, 2000)))
    assert set(direct) == {"BufferedReader"}


def test_a_shard_that_ends_too_early_is_named_past_the_cache_too(table: Stream, direct: list[str]) -> None:
    shard = table.folder / table.shards[1].file
    data = shard.read_bytes()
    for left in (ALIGNMENT, ALIGNMENT + 100, 2 * ALIGNMENT, len(data) - 1):
        shard.write_bytes(data[:left])
        with pytest.raises(LabError, match=r"000001\.safetensors cannot be read"):
            table.read([1])
    assert "FileIO" in direct


def test_only_a_stream_that_memory_would_not_keep_is_read_past_the_cache(
    table: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = LARGE.count * (3 * 4 + 2 * 4 + 4)
    for allowed, expected in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(memory, "allowed", lambda allowed=allowed: allowed)
        assert open_stream(table.folder).past_cache == expected


def test_safetensors_reads_the_shards(tmp_path: Path) -> None:
    found = write_stream([LARGE], tmp_path / "rows", 1024)
    for number, shard in enumerate(found.shards):
        check_equal(Rows(**load_file(found.folder / shard.file)), found.read([number]))


def test_shards_of_an_earlier_layout_are_asked_for_again(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    for earlier in ({"layout": 1}, {}):
        (folder / MANIFEST).write_text(json.dumps({**{k: v for k, v in manifest.items() if k != "layout"}, **earlier}))
        with pytest.raises(LabError, match=r"The manifest .* cannot be read .*layout.*; delete .* and encode again"):
            open_stream(folder)


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("0::/job/step", "job/memory.max"),
        ("0::/job/step", "memory.max"),
        ("12:cpu,cpuacct:/\n4:memory:/job/step", "memory/job/step/memory.limit_in_bytes"),
    ],
)
def test_the_memory_allowed_is_the_least_that_a_control_group_above_allows(
    lines: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "ROOT", tmp_path / "fs")
    (tmp_path / "cgroup").write_text(lines + "\n")
    machine = memory.allowed()
    assert machine == pytest.importorskip("psutil").virtual_memory().total
    limits = {"job/step/memory.max": "max", file: "123456789"}
    for name, text in limits.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    assert memory.allowed() == 123456789


# What is damaged or missing.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stream([TABLE], tmp_path / "rows", rows_per_shard=20, fingerprint="first")
    return tmp_path / "rows"


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_shard_is_named(folder: Path, left: int) -> None:
    shard = folder / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:left])
    check_refused(folder, shard)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "000001.safetensors").unlink()
    check_refused(folder, folder / "000001.safetensors")


@given(place=st.integers(0, 200), value=st.integers(0, 255))
@settings(max_examples=60)
def test_a_shard_with_a_damaged_header_is_read_or_named(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "rows"
        write_stream([TABLE], folder, rows_per_shard=20)
        shard = folder / "000001.safetensors"
        data = bytearray(shard.read_bytes())
        data[place] = value
        shard.write_bytes(data)
        try:
            found = str(open_stream(folder).read([1]).count)
        except LabError as error:
            found = str(error)
        assert found == "20" or str(shard) in found


@pytest.mark.parametrize(
    "arrays",
    [
        part(TABLE, slice(0, 19))._asdict(),  # too few rows
        TABLE._replace(target=TABLE.target[:20])._asdict(),  # columns of unequal length
        {"numeric": TABLE.numeric[:20]},
    ],
    ids=["rows", "unequal", "columns"],
)
def test_a_shard_of_something_else_is_named(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    save_file(arrays, folder / "000001.safetensors")
    check_refused(folder, folder / "000001.safetensors")


def check_refused(folder: Path, shard: Path) -> None:
    stream = open_stream(folder)
    check_equal(stream.read([0]), part(TABLE, slice(0, 20)))
    for wanted in ([1], [0, 1, 2]):
        with pytest.raises(LabError) as raised:
            stream.read(wanted)
        assert str(shard) in str(raised.value)
        assert "encode again" in str(raised.value)


def test_a_folder_without_a_manifest_is_no_stream(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(LabError, match=r"There are no encoded rows in .*rows: stream\.json is missing; encode them"):
        open_stream(folder)
    with pytest.raises(LabError, match="There are no encoded rows in"):
        open_stream(folder / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"shards": [',
        "[]",
        "null",
        '{"shards": 3, "fingerprint": "", "layout": 2}',
        '{"shards": [{"file": "000000.safetensors"}], "fingerprint": "", "layout": 2}',
        '{"shards": [{"file": "000000.safetensors", "rows": "many"}], "fingerprint": "", "layout": 2}',
        '{"shards": [{"file": "000000.safetensors", "rows": 1e999}], "fingerprint": "", "layout": 2}',
        '{"shards": [{"file": "000000.safetensors", "rows": 0}], "fingerprint": "", "layout": 2}',
        '{"shards": [{"file": "000000.safetensors", "rows": 20}]}',
        '{"shards": [], "fingerprint": "", "layout": 2}',
        "\x00",
    ],
)
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(LabError) as raised:
        open_stream(folder)
    assert str(raised.value).startswith(f"The manifest {folder / MANIFEST} ")
    assert "encode again" in str(raised.value)


def test_a_manifest_that_is_no_text_is_named(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabError, match=r"The manifest .*stream\.json cannot be read"):
        open_stream(folder)


# What is there stays until everything is written.


def failing(error: Exception, after: int = 30) -> Iterator[Rows]:
    yield part(TABLE, slice(0, after))
    raise error


@pytest.mark.parametrize("error", [ValueError("broken"), LabError("broken"), OSError("broken"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_nothing_half_written(folder: Path, error: Exception) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(LabError if isinstance(error, OSError) else type(error)):
        write_stream(failing(error), folder, rows_per_shard=10, fingerprint="second")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(folder.parent) == ["rows"]
    check_equal(open_stream(folder).read([0, 1, 2]), TABLE)
    with pytest.raises(LabError if isinstance(error, OSError) else type(error)):
        write_stream(failing(error), folder.with_name("new"), rows_per_shard=10)
    assert os.listdir(folder.parent) == ["rows"]


def test_an_existing_folder_is_replaced_once_all_is_written(folder: Path) -> None:
    (folder / "stale.safetensors").write_bytes(b"of another run")
    other = rows("binary", 7, seed=5)

    def source() -> Iterator[Rows]:
        for number in range(7):
            assert open_stream(folder).fingerprint == "first", "the old one, to the last row"
            check_equal(open_stream(folder).read([0, 1, 2]), TABLE)
            yield part(other, slice(number, number + 1))

    stream = write_stream(source(), folder, rows_per_shard=2, fingerprint="second")
    check_equal(stream.read([0, 1, 2, 3]), other)
    assert sorted(os.listdir(folder)) == sorted([*(shard.file for shard in stream.shards), MANIFEST])
    assert json.loads((folder / MANIFEST).read_text())["fingerprint"] == "second"


@pytest.mark.parametrize("parts", [[], [part(TABLE, slice(0, 0))]], ids=["nothing", "empty"])
def test_no_rows_are_refused(folder: Path, parts: list[Rows]) -> None:
    with pytest.raises(LabError, match=r"There are no rows to write to .*: look at the split"):
        write_stream(parts, folder)
    assert open_stream(folder).fingerprint == "first", "what was there is there"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LabError, match=r"The shards of .*file/rows cannot be written"):
        write_stream([TABLE], tmp_path / "file" / "rows")
    with pytest.raises(LabError, match=r"The shards of .*file cannot be written"):
        write_stream([TABLE], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "not a folder"
