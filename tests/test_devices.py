"""Devices: starting them, dealing rows out to them, and adding up over them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from example_runs import compilations
from hypothesis import given
from hypothesis import strategies as st

from lab_kit import devices
from lab_kit.schema import LabError


@given(
    rows=st.integers(0, 100),
    count=st.integers(1, 8),
    block=st.integers(1, 20),
    tail=st.lists(st.integers(0, 3), max_size=2),
)
def test_split_deals_out_every_row_and_join_finds_it_again(rows: int, count: int, block: int, tail: list[int]) -> None:
    array = np.arange(rows * int(np.prod(tail)), dtype=np.int32).reshape(rows, *tail) + 1
    cut = devices.split(array, count, block)
    assert cut.shape[0] == count
    assert cut.shape[2:] == (block, *tail)
    assert cut.dtype == array.dtype
    assert 0 < cut.shape[1] <= max(1, -(-rows // (count * block))), "no block more than needed"
    np.testing.assert_array_equal(devices.join(cut, rows), array)
    everything = devices.join(cut, cut.shape[0] * cut.shape[1] * block)
    assert not everything[rows:].any(), "padding is zero"


@pytest.mark.parametrize("count", [1, 2])
def test_a_prepared_program_is_compiled_and_has_not_run(count: int) -> None:
    ran = []

    def function(factor: jax.Array, values: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: ran.append(1))
        return devices.all_sum(factor * values.sum())

    run = devices.parallel(function, count, in_axes=(None, 0))
    values = devices.shard(np.ones((count, 3), np.float32), count)
    with compilations() as compiled:
        devices.prepare(run, np.float32(2), values)
    assert compiled
    assert ran == []
    with compilations() as compiled:
        assert np.asarray(run(np.float32(2), values)) == 6 * count
    assert compiled == []
    jax.effects_barrier()
    assert len(ran) == count


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_parallel_sum_is_the_sum_over_all_devices(count: int) -> None:
    def function(factor: jax.Array, values: jax.Array) -> jax.Array:
        return devices.all_sum(factor * values.sum() + 100 * devices.index())

    run = devices.parallel(function, count, in_axes=(None, 0))
    values = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    found = run(devices.replicate(np.float32(2), count), devices.shard(values, count))
    assert found.shape == ()
    assert float(found) == 2 * values.sum() + 100 * sum(range(count))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_where_a_tree_lies(count: int) -> None:
    tree = {"a": np.arange(count * 2.0).reshape(count, 2), "b": np.ones(count)}
    whole, cut = devices.replicate(tree, count), devices.shard(tree, count)
    for placed, share in ((whole, count), (cut, 1)):
        np.testing.assert_array_equal(placed["a"], tree["a"])
        shards = placed["a"].addressable_shards
        assert [shard.device for shard in shards] == jax.local_devices()[:count]
        assert {shard.data.shape[0] for shard in shards} == {share}
    again = devices.replicate(whole, count)
    for new, old in zip(again["a"].addressable_shards, whole["a"].addressable_shards, strict=True):
        assert new.data.unsafe_buffer_pointer() == old.data.unsafe_buffer_pointer(), "not copied a second time"


@pytest.mark.parametrize("count", [-1, 0, 5])
def test_devices_that_do_not_exist_are_refused(count: int) -> None:
    with pytest.raises(LabError, match=rf"devices = {count}, .* 4 cpu device\(s\): choose 1 to 4\.") as raised:
        devices.chosen(count)
    assert ("devices.start(cpu_devices=5)" in str(raised.value)) == (count == 5)


def test_starting_again_changes_nothing() -> None:
    before = jax.local_devices()
    assert devices.start(cpu_devices=2) == before
    assert len(before) == 4


def test_a_fresh_process_gets_its_devices_and_its_cache(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lab_kit import devices; import jax\n"
        "found = devices.start(cpu_devices=3, cache=Path(sys.argv[1]))\n"
        "print(len(found), jax.config.jax_compilation_cache_dir)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.split() == ["3", str(tmp_path)]


# A GPU.


@pytest.mark.parametrize(("given", "after"), [
    (None, "--xla_gpu_deterministic_ops=true"),
    ("--xla_dump_to=there", "--xla_dump_to=there --xla_gpu_deterministic_ops=true"),
    ("--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false"),
])  # fmt: skip
def test_a_gpu_arrives_at_the_same_bits_each_time_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, after: str
) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if given:
        monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setattr(devices, "_started", lambda: False)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    before = os.environ.get("XLA_FLAGS")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    devices.start()
    assert os.environ.get("XLA_FLAGS") == before, "JAX for the CPU alone is not told of GPUs"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "there")
    devices.start()
    assert os.environ["XLA_FLAGS"] == after


def test_a_device_with_a_memory_of_its_own_keeps_a_table_that_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 1000, "bytes_in_use": 200}

    assert not devices.can_keep(1), "on a CPU the rows are in place"
    monkeypatch.setattr(jax, "local_devices", lambda: [Card()])
    assert devices.can_keep(200)
    assert not devices.can_keep(201)
