"""A stopwatch that a contender tells of its progress, and that tells it when to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Watch:
    """Times of one run.

    Attributes:
      seconds: how long the run should take; it ends with the epoch that reaches this.
      least: epochs that it runs in any case.
      goal: a validation AUC that ends the run at once; None to measure speed alone, without looking at the AUC.
      first_loss: seconds until the caller held the first training loss; None before.
      reached: seconds until the goal was reached; None if it was not.
      epochs: seconds of each epoch.
    """

    seconds: float
    least: int = 1
    goal: float | None = None
    first_loss: float | None = None
    reached: float | None = None
    epochs: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def loss(self) -> None:
        """The caller holds a training loss."""
        if self.first_loss is None:
            self.first_loss = time.perf_counter() - self.began

    def epoch(self, auc: Callable[[], float]) -> bool:
        """An epoch is over; ``auc`` computes that of the validation rows. Returns whether to stop."""
        self.loss()
        passed = time.perf_counter() - self.began
        self.epochs.append(passed - sum(self.epochs))
        if self.goal is not None and auc() >= self.goal:
            self.reached = time.perf_counter() - self.began
            return True
        return passed >= self.seconds and len(self.epochs) >= self.least
