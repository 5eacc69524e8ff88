"""What a cleaning step of a dataset card may say. ``steps`` fits and applies them, ``schema`` reads the card."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], Field(min_length=1)]


class Part(BaseModel):
    """A part of a card: frozen, and without keys that the card does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Deduplicate(Part):
    """Keep the first of the rows that are the same in ``subset`` (None: in every column)."""

    step: Literal["deduplicate"]
    subset: Names | None = None
    reason: str = ""


class DropMissing(Part):
    """Remove the rows in which any of ``columns`` is null or NaN."""

    step: Literal["drop_missing"]
    columns: Names
    reason: str = ""


class Derive(Part):
    """Add a column by a Polars SQL expression that needs nothing but its own row."""

    step: Literal["derive"]
    column: Text
    sql: Text
    reason: str = ""


class ValidRange(Part):
    """Values below ``low`` or above ``high`` cannot be right: they become null."""

    step: Literal["valid_range"]
    columns: Names
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("a valid range needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be above high ({self.high:g})")
        return self


class Fill(Part):
    """Replace nulls by ``median``, ``mean`` or ``mode`` of the training rows, or by a constant."""

    step: Literal["fill"]
    columns: Names
    value: bool | int | float | str = Field(alias="with")
    reason: str = ""


class Clip(Part):
    """Move values beyond two quantiles of the training rows to these quantiles."""

    step: Literal["clip"]
    columns: Names
    low_quantile: float = Field(default=0.0, ge=0, le=1)
    high_quantile: float = Field(default=1.0, ge=0, le=1)
    reason: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_quantile >= self.high_quantile:
            raise ValueError("low_quantile must be below high_quantile")
        return self


Step = Annotated[
    Deduplicate | DropMissing | Derive | ValidRange | Fill | Clip,
    Field(discriminator="step"),
]


def check_order(steps: tuple[Step, ...]) -> None:
    """Refuse an order of steps in which cleaning a clean table would change it again.

    A step that removes rows must not look at cells which a later step changes.

    Raises:
      ValueError: naming the two steps.
    """
    for first, step in enumerate(steps):
        for second, later in enumerate(steps[first + 1 :], first + 1):
            if isinstance(step, Deduplicate) and isinstance(later, ValidRange | Fill | Clip):
                touched = [c for c in later.columns if step.subset is None or c in step.subset]
            elif isinstance(step, DropMissing) and isinstance(later, ValidRange):
                touched = [c for c in later.columns if c in step.columns]
            else:
                continue
            if touched:
                raise ValueError(
                    f"step {first + 1} ({step.step}) looks at column {touched[0]!r}, which step {second + 1} "
                    f"({later.step}) changes afterwards; put step {first + 1} after it"
                    + (" or name other columns in its subset" if step.step == "deduplicate" else "")
                )
