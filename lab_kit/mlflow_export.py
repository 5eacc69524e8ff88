"""Runs in an MLflow store, for those who look at their runs there; MLflow is an extra that nothing else needs."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from lab_kit.run_store import RunStore, Summary
from lab_kit.schema import LabError

MOST = 500
"""Metrics in one request; MLflow takes 1,000."""
STATES = {"finished": "FINISHED", "stopped early": "FINISHED", "stopped": "KILLED", "diverged": "FAILED"}


def to_mlflow(store: RunStore, tracking_uri: str, experiment: str, runs: Iterable[str] | None = None) -> list[str]:
    """Copies runs: their settings as parameters, their records as metrics by step, their outcome as a tag.

    A run that is there already, by its name, is left as it is.

    Args:
      store: of the runs.
      tracking_uri: of MLflow, such as ``sqlite:///mlflow.db`` or the address of a server.
      experiment: made when it is missing.
      runs: names of the runs; all of them when None.

    Returns:
      The names of those that were copied.

    Raises:
      LabError: MLflow is not installed, or does not answer.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise LabError('MLflow is not installed: run `pip install "lab-kit[mlflow]"`.') from None
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        there = {run.info.run_name for run in _all(client, place)}
        wanted = None if runs is None else set(runs)
        copied = []
        for summary in store.summaries():
            if summary.name not in there and (wanted is None or summary.name in wanted):
                _copy(client, place, summary, store.history(summary.name))
                copied.append(summary.name)
        return copied
    except MlflowException as error:
        raise LabError(f"MLflow at {tracking_uri} refuses: {str(error).splitlines()[0]}.") from None


def _all(client: Any, place: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([place], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _copy(client: Any, place: str, summary: Summary, rows: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = {"outcome": summary.outcome, "fingerprint": summary.fingerprint, "title": summary.title}
    tags["steered"] = summary.steering
    run = client.create_run(place, run_name=summary.name)
    identity, began = run.info.run_id, run.info.start_time
    params = [Param(name, str(value)) for name, value in summary.config.items()]
    client.log_batch(identity, params=params, tags=[RunTag(name, value) for name, value in tags.items() if value])
    metrics = (
        Metric(name, float(value), began + int(1000 * row["seconds"]), row["step"])
        for row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step" and math.isfinite(value)
    )
    while part := list(islice(metrics, MOST)):
        client.log_batch(identity, metrics=part)
    client.set_terminated(identity, STATES.get(summary.outcome.split(":")[0], "KILLED"))
