"""Random and Bayesian search for what a sweep cannot vary: layers, widths, activations, optimizers, batch sizes.

Each trial is a run of its own, with a program of its own to compile. An Optuna study proposes its configuration and
hears its validation loss; a trial that is worse than the median of those before it is cut short. A search is a loop::

    study = search.study(seed=1)
    for trial in search.search(train, validation, signature, base, space, 20, study):
        print(trial.number, trial.loss)

and goes on where it was left when the same study is passed again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna

from lab_kit.arrays import Rows, Signature, Task
from lab_kit.config import TrainConfig, check
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.stream import Stream
from lab_kit.train import Record, fit

Method = Literal["bayesian", "random"]
Outcome = Literal["finished", "pruned", "diverged"]
STARTUP = 6
"""Trials drawn at random before the Bayesian search begins to prefer, and before any trial is cut short."""
FEWEST = 4
"""Trials that must have run to their end before importances mean something."""


@dataclass(frozen=True)
class Between:
    """A number to choose from a range, both ends included.

    Attributes:
      low: the smallest.
      high: the greatest.
      log: whether 0.001 to 0.01 counts as much as 0.01 to 0.1.
      whole: whether it is a whole number.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space: TypeAlias = Mapping[str, Sequence[Any] | Between]
"""What to choose from, by name: a field of ``TrainConfig``, or ``layers`` and ``width``, which make ``hidden``."""


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
      number: in its study, from 0.
      values: what was chosen, by the names of the space.
      config: of the run.
      losses: float64 ``[e]``, the validation loss before training and at the end of each epoch; NaN where it diverged.
      loss: the lowest of them after training began; infinite where there is none.
      metrics: the validation metrics of that epoch.
      outcome: ``pruned`` was cut short, because it was worse than the median of those before it.
      seconds: it took, compilation included.
    """

    number: int
    values: dict[str, Any]
    config: TrainConfig
    losses: tuple[float, ...]
    loss: float
    metrics: dict[str, float]
    outcome: Outcome
    seconds: float


def default_space(rows: int, task: Task) -> dict[str, Sequence[Any] | Between]:
    """A space for tables of this size.

    Args:
      rows: number of training rows.
      task: of the dataset.
    """
    middle = 2 ** int(np.clip(np.log2(max(rows, 1) / 32), 3, 10))
    batches = [size for size in (middle // 2, middle, 2 * middle) if size <= rows]
    return {
        "layers": Between(1, 3, whole=True),
        "width": (16, 32, 64, 128) if rows < 20_000 else (32, 64, 128, 256),
        "activation": ("relu", "tanh"),
        "normalization": ("none", "layer"),
        "optimizer": ("adamw", "nesterov", "rmsprop"),
        "schedule": ("constant", "one-cycle"),
        "batch_size": batches or (rows,),
        "learning_rate": Between(3e-4, 3e-2, log=True),
        "dropout": Between(0.0, 0.5),
    }


def study(method: Method = "bayesian", seed: int = 0, prune: bool = True) -> optuna.Study:
    """The memory of a search, empty.

    Args:
      method: ``bayesian`` proposes what resembles the good trials more than the bad ones (tree-structured Parzen
        estimator: J. Bergstra et al., Algorithms for hyper-parameter optimization, NIPS 2011); ``random`` draws.
      seed: of the proposals.
      prune: whether trials that are worse than the median at the same epoch are cut short.
    """
    if method not in ("bayesian", "random"):
        raise LabError(f"method = {method!r}: choose bayesian or random.")
    sampler = (
        optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
        if method == "bayesian"
        else optuna.samplers.RandomSampler(seed)
    )
    pruner = optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=1) if prune else optuna.pruners.NopPruner()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce its own name
    try:
        return optuna.create_study(sampler=sampler, pruner=pruner)
    finally:
        optuna.logging.set_verbosity(before)


def search(
    train: Rows | Stream,
    validation: Rows | Stream,
    signature: Signature,
    base: TrainConfig,
    space: Space,
    trials: int,
    memory: optuna.Study,
    *,
    steering: Steering | None = None,
) -> Iterator[Trial]:
    """Trains one configuration after another, and yields each when it is done.

    Args:
      train: rows to learn from, in memory or on disk.
      validation: rows to choose by; never the test rows.
      signature: of the encoder that made both.
      base: what the space does not vary.
      space: what to choose from.
      trials: how many more.
      memory: as of ``study``; with that of an earlier search this one goes on.
      steering: of which pause and stop are heard. A trial that is stopped counts for nothing and comes again first.

    Raises:
      LabError: at once: a choice of the space cannot run.
    """
    for name, choices in space.items():
        ends = (choices.low, choices.high) if isinstance(choices, Between) else choices
        if not len(ends) or (isinstance(choices, Between) and not choices.low < choices.high):
            raise LabError(f"The search has nothing to choose {name} from: give values, or a range that goes up.")
        for value in ends:
            check(_with(base, {name: value}), train.count, signature.task)
    return _trials(train, validation, signature, base, space, trials, memory, steering or Steering())


def _with(base: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    known = {field.name for field in fields(TrainConfig)} - {"hidden"}
    unknown = [name for name in values if name not in known | {"layers", "width"}]
    if unknown:
        raise LabError(f"A search cannot vary {unknown[0]}: choose among layers, width, {', '.join(sorted(known))}.")
    layers = values.get("layers", len(base.hidden))
    width = values.get("width", base.hidden[0] if base.hidden else 64)
    own: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    varied = "layers" in values or "width" in values
    return replace(base, hidden=(int(width),) * int(layers) if varied else base.hidden, **own)


def _proposed(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, choices in space.items():
        if not isinstance(choices, Between):
            values[name] = trial.suggest_categorical(name, list(choices))
        elif choices.whole:
            values[name] = trial.suggest_int(name, int(choices.low), int(choices.high), log=choices.log)
        else:
            values[name] = trial.suggest_float(name, choices.low, choices.high, log=choices.log)
    return values


def _trials(
    train: Rows | Stream,
    validation: Rows | Stream,
    signature: Signature,
    base: TrainConfig,
    space: Space,
    trials: int,
    memory: optuna.Study,
    steering: Steering,
) -> Iterator[Trial]:
    failed = optuna.trial.TrialState.FAIL
    for _ in range(trials):
        asked = memory.ask()
        values = _proposed(asked, space)
        config = _with(base, values)
        try:
            done = _run(asked, values, config, fit(train, validation, signature, config, steering=steering))
        except BaseException:
            memory.tell(asked, state=failed)
            raise
        if steering.stopped:
            memory.tell(asked, state=failed)
            memory.enqueue_trial(values)
            return
        if done.outcome == "finished":
            memory.tell(asked, done.loss)
        else:
            memory.tell(asked, state=optuna.trial.TrialState.PRUNED)
        yield done


def _run(asked: optuna.Trial, values: dict[str, Any], config: TrainConfig, records: Iterator[Record]) -> Trial:
    """One run, told epoch by epoch to the study, which may cut it short."""
    losses: list[float] = []
    found: dict[str, float] = {}
    outcome: Outcome = "finished"
    for record in records:
        seconds = record.seconds
        if (record.outcome or "").startswith("diverged"):
            outcome = "diverged"
            losses.append(float("nan"))
        elif record.validation:
            losses.append(record.validation["loss"])
            found = record.validation if record.best else found
        else:
            continue
        if record.step:
            asked.report(losses[-1], len(losses) - 1)
            if not record.outcome and asked.should_prune():
                outcome = "pruned"
                break
    loss = found["loss"] if found else float("inf")
    return Trial(asked.number, values, config, tuple(losses), loss, found, outcome, seconds)


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest validation loss of those that ran to their end.

    Raises:
      LabError: none did.
    """
    finished = [trial for trial in trials if trial.outcome == "finished"]
    if not finished:
        raise LabError("No trial of this search ran to its end: search longer, or among lower learning rates.")
    return min(finished, key=lambda trial: trial.loss)


def importances(memory: optuna.Study, seed: int = 0) -> dict[str, float]:
    """How much of the variation of the loss each choice explains, the greatest first; they add up to 1.

    Functional ANOVA over a random forest that is fitted to the trials which ran to their end (F. Hutter, H. Hoos and
    K. Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML 2014).

    Args:
      memory: of a search.
      seed: of the forest.

    Raises:
      LabError: too few trials ran to their end.
    """
    finished = memory.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < FEWEST:
        raise LabError(f"{len(finished)} trials ran to their end; {FEWEST} are needed to say what mattered.")
    found = optuna.importance.get_param_importances(
        memory, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
    )
    return {name: float(value) for name, value in found.items()}
