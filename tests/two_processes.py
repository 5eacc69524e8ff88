"""One of the processes of test_processes.py: ``python tests/two_processes.py FOLDER EPOCHS PORT PROCESSES ID``."""

import os
import sys
from pathlib import Path

from example_rows import rows, signature

from lab_kit import devices, runs, train
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.stream import write_stream


def main() -> None:
    folder, epochs, port, processes, number = Path(sys.argv[1]), *map(int, sys.argv[2:])
    others = devices.Others(f"127.0.0.1:{port}", processes, number) if processes > 1 else None
    devices.start(2 // processes, folder.parent / "compiled", others)
    table = devices.first_alone(lambda: rows("binary", 150))
    if folder.name.startswith("stream"):  # read in shards by those they belong to
        table = write_stream([table], folder.with_name(f"rows-{processes}-{number}"), rows_per_shard=40)
    config = TrainConfig(
        (6,), normalization="batch", optimizer="momentum", batch_size=14, epochs=epochs, dropout=0.2, readers=2,
        devices=2 // processes,
    )  # fmt: skip
    start = None
    try:
        if (folder / "config.json").exists():
            again = runs.resume(folder, "rows")
            config, start = again.config, again.start
        records = train.fit(table, rows("binary", 41, 1), signature("binary"), config, start=start)
        for record in runs.keep(records, folder, config, "rows", checkpoint_every=0.2):
            if record.validation:
                print(record.step, record.validation["loss"], record.train.get("loss"), flush=True)
    except LabError as error:
        print(f"LabError: {error}", flush=True)  # at once: Gloo writes to the same pipe
        os._exit(1)  # as the command does: an orderly exit would wait for the dead


if __name__ == "__main__":
    main()
