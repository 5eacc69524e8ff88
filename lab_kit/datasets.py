"""From a dataset card to a lazy table: the catalog, the sources, and the checks that need the data."""

import hashlib
import os
from pathlib import Path

import polars as pl

from lab_kit.card_steps import Derive
from lab_kit.schema import (
    DatasetCard,
    FilesSource,
    LabError,
    SklearnSource,
    TableSource,
    first_line,
    load_card,
)

DATASETS_FOLDER = Path(os.environ.get("LAB_KIT_DATASETS", Path(__file__).resolve().parent.parent / "datasets"))
"""Where the cards are; the environment variable LAB_KIT_DATASETS names another place."""


def catalog(folder: Path | str = DATASETS_FOLDER) -> dict[str, DatasetCard]:
    """Every card of a folder by its name, in alphabetical order.

    Raises:
      LabError: when a card is not valid, or its name is not the name of its file.
    """
    return {path.stem: card(path.stem, folder) for path in sorted(Path(folder).glob("*.toml"))}


def card(name: str, folder: Path | str = DATASETS_FOLDER) -> DatasetCard:
    """The card of one dataset.

    Args:
      name: name of the dataset, which is the name of its file without ``.toml``.
      folder: where the cards are.

    Raises:
      LabError: when there is no such card (the message lists the known ones), or it is not valid.
    """
    known = {path.stem: path for path in sorted(Path(folder).glob("*.toml"))}
    if name not in known:
        listing = ", ".join(known) or "none"
        raise LabError(f"There is no dataset {name!r} in {folder}; the known datasets are: {listing}.")
    found = load_card(known[name])
    if found.name != name:
        raise LabError(f"The card {known[name]} says name = {found.name!r}; it must be {name!r}, like its file name.")
    return found


def scan(card: DatasetCard, folder: Path | str = DATASETS_FOLDER) -> pl.LazyFrame:
    """The table of a card: source checked, files joined, times parsed, target derived. No row is removed.

    Args:
      card: the dataset.
      folder: the folder that the paths of the card are relative to.

    Returns:
      A lazy table in the order of the source's rows. A null stands where a value is unknown or a join found
      no partner. The columns are those of the source, the joined ones, and the target.

    Raises:
      LabError: when a file is missing or damaged, when a column that the card names is not in the table, or
        when an input is computed from something known only after the fact.
    """
    folder = Path(folder)
    match card.source:
        case FilesSource():
            frame = _scan_files(card.source, folder)
        case TableSource():
            path = folder / card.source.path
            if card.source.sha256 is not None:
                _verify(path, card.source.sha256)
            frame = _scan_file(path, card.source.null_values)
        case SklearnSource():
            frame = _load_sklearn(card.source, card.target.column)
    schema = frame.collect_schema()
    _check_columns(card, list(schema))
    frame = frame.with_columns(_time(card, name, schema[name]) for name in _times(card, schema))
    if card.target.derive is not None:
        expression = _expression(card.target.derive, f"the target {card.target.column!r}", card)
        frame = frame.with_columns(expression.alias(card.target.column))
        try:
            frame.collect_schema()
        except pl.exceptions.PolarsError as error:
            raise LabError(
                f"The target {card.target.column!r} of the dataset {card.name!r} cannot be computed from "
                f"{card.target.derive!r}: {first_line(error)}."
            ) from None
    check_leaks(card)
    return frame


def check_target(card: DatasetCard, frame: pl.LazyFrame) -> None:
    """Refuse a table whose target cannot be learned.

    Args:
      card: the dataset.
      frame: the table, as ``scan`` or cleaning gives it. Nulls and NaN in the target do not count.

    Raises:
      LabError: when the target column is missing, is empty, has one value only, has more than two classes
        in a binary task, or is not a number in a regression.
    """
    name = card.target.column
    schema = frame.collect_schema()
    if name not in schema:
        raise LabError(
            f"The target column {name!r} is not in the dataset {card.name!r}; its columns are: {', '.join(schema)}."
        )
    where = f"The target column {name!r} of the dataset {card.name!r}"
    if card.task == "regression" and not (schema[name].is_numeric() or schema[name] == pl.Boolean):
        raise LabError(f"{where} holds {schema[name]}, not numbers; choose another target or task.")
    target = pl.col(name).drop_nulls()
    if schema[name].is_float():
        target = target.drop_nans()
    counts = frame.select(rows=pl.len(), known=target.len(), distinct=target.n_unique(), first=target.first())
    rows, known, distinct, first = counts.collect(engine="streaming").row(0)
    if known == 0:
        raise LabError(f"{where} has no known value in {rows} rows; choose another target.")
    if distinct == 1:
        what = "value" if card.task == "regression" else "class"
        raise LabError(
            f"{where} has only one {what}, {str(first)!r}, in {known} rows, so there is nothing to learn; "
            "choose another target or more rows."
        )
    if card.task == "binary" and distinct > 2:
        raise LabError(f"{where} has {distinct} classes, but the task is binary; use multiclass or derive it.")
    if card.task == "multiclass" and card.target.labels and distinct > len(card.target.labels):
        raise LabError(f"{where} has {distinct} classes, but the card has {len(card.target.labels)} labels.")


def check_leaks(card: DatasetCard) -> None:
    """Refuse inputs that are computed from the target or from a leak column, over any number of derive steps.

    Raises:
      LabError: naming the input and the column it must not see.
    """
    unsafe = {name for name, column in card.columns.items() if column.role in ("leak", "target")}
    unsafe.add(card.target.column)
    if card.target.derive is not None:
        roots = _expression(card.target.derive, f"the target {card.target.column!r}", card).meta.root_names()
        for name in roots:
            if name in card.inputs:
                raise LabError(
                    f"The target {card.target.column!r} of the dataset {card.name!r} is computed from "
                    f"{name!r}, which is an input; give {name!r} the role 'leak'."
                )
        unsafe.update(roots)
    for number, step in enumerate(card.cleaning, 1):
        if not isinstance(step, Derive):
            continue
        roots = _expression(step.sql, f"step {number}, derive {step.column!r},", card).meta.root_names()
        bad = [name for name in roots if name in unsafe]
        if bad and step.column in card.inputs:
            raise LabError(
                f"Step {number} of the card {card.name!r} computes the input {step.column!r} from {bad[0]!r}, "
                "which is known only after the fact; give it the role 'leak' or leave it out."
            )
        if bad:
            unsafe.add(step.column)


def _scan_files(source: FilesSource, folder: Path) -> pl.LazyFrame:
    tables = {}
    for file in source.files:
        _verify(folder / file.path, file.sha256)
        tables[file.name] = _scan_file(folder / file.path, source.null_values)
    frame = tables[source.files[0].name]
    for join in source.joins:
        if join.file not in tables:
            raise LabError(f"A join names the file {join.file!r}; the files are: {', '.join(tables)}.")
        right = tables[join.file]
        for side, names, schema in (
            ("table", join.left_on, frame.collect_schema()),
            (join.file, (*join.right_on, *join.columns.values()), right.collect_schema()),
        ):
            if absent := [name for name in names if name not in schema]:
                raise LabError(
                    f"The join with {join.file!r} names the column {absent[0]!r}, which is not in the "
                    f"{side}; its columns are: {', '.join(schema)}."
                )
        keys = [pl.col(name).alias(f"join key {number}") for number, name in enumerate(join.right_on)]
        columns = [pl.col(old).alias(new) for new, old in join.columns.items()]
        frame = frame.join(
            right.select(*keys, *columns),
            left_on=list(join.left_on),
            right_on=[f"join key {number}" for number in range(len(keys))],
            how="left",
            validate="m:1",
            maintain_order="left",
        )
    return frame


def _verify(path: Path, sha256: str) -> None:
    """Refuse a file that is missing or is not, byte for byte, the one the card was written for."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise LabError(f"There is no file {path}, which the card names; check the path.") from None
    if found != sha256:
        raise LabError(
            f"The file {path} is damaged or was changed: its sha256 is {found[:12]}..., the card says "
            f"{sha256[:12]}...; fetch the file again, or put the new sha256 into the card."
        )


def _scan_file(path: Path, null_values: tuple[str, ...]) -> pl.LazyFrame:
    if not path.is_file():
        raise LabError(f"There is no file {path}, which the card names; check the path.")
    names = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    kind = names[-1] if names else ""
    try:
        if kind == ".parquet":
            frame = pl.scan_parquet(path, glob=False)  # brackets in a name are no pattern
        elif kind in (".csv", ".tsv", ".txt"):
            # All rows decide on the types: a column that is whole for 10,000 rows may have a fraction later.
            separator = "\t" if kind == ".tsv" else ","
            nulls = list(null_values)
            frame = pl.scan_csv(path, null_values=nulls, infer_schema_length=None, separator=separator, glob=False)
        else:
            raise LabError(f"The file {path} is neither CSV nor Parquet by its name; convert it or rename it.")
        if not frame.collect_schema():
            raise LabError(f"The file {path} has no columns; check that it is not empty.")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LabError(f"The file {path} cannot be read as {kind[1:]}: {first_line(error)}.") from None
    return frame


def _load_sklearn(source: SklearnSource, target: str) -> pl.LazyFrame:
    from sklearn import datasets as sklearn_datasets  # slow to import, and the flights do not need it

    match source.dataset:
        case "breast_cancer":
            bunch = sklearn_datasets.load_breast_cancer()
            values = pl.Series([str(bunch.target_names[k]) for k in bunch.target])
        case "digits":
            bunch = sklearn_datasets.load_digits()
            values = pl.Series(bunch.target)
        case "diabetes":
            bunch = sklearn_datasets.load_diabetes(scaled=False)
            values = pl.Series(bunch.target)
    names = [str(name) for name in bunch.feature_names]
    if absent := [name for name in source.rename if name not in names]:
        raise LabError(f"The card renames {absent[0]!r}, which scikit-learn's {source.dataset} does not have.")
    frame = pl.DataFrame(bunch.data, schema=[source.rename.get(name, name.replace(" ", "_")) for name in names])
    return frame.with_columns(values.alias(target)).lazy()


def _check_columns(card: DatasetCard, names: list[str]) -> None:
    derived = {step.column for step in card.cleaning if isinstance(step, Derive)}
    if card.target.derive is not None:
        derived.add(card.target.column)
    elif card.target.column not in names:
        raise LabError(
            f"The target column {card.target.column!r} is not in the dataset {card.name!r}; "
            f"its columns are: {', '.join(names)}."
        )
    if clash := [name for name in names if name in derived]:
        raise LabError(
            f"The card {card.name!r} derives {clash[0]!r}, but the table has a column of that name; choose another."
        )
    if absent := [name for name in card.columns if name not in names and name not in derived]:
        raise LabError(
            f"The card {card.name!r} describes the column {absent[0]!r}, which is not in the table; "
            f"its columns are: {', '.join(names)}."
        )
    if isinstance(column := getattr(card.split, "column", None), str) and column not in names:
        raise LabError(f"The card {card.name!r} splits by the column {column!r}, which is not in the table.")


def _times(card: DatasetCard, schema: pl.Schema) -> list[str]:
    return [name for name, column in card.columns.items() if column.role == "time" and name in schema]


def _time(card: DatasetCard, name: str, dtype: pl.DataType) -> pl.Expr:
    column = card.columns[name]
    time = pl.col(name)
    if dtype == pl.String:
        zone = "UTC" if column.time_zone else None
        time = time.str.to_datetime(column.format or None, time_unit="us", time_zone=zone, strict=True)
    elif not dtype.is_temporal():
        raise LabError(f"Column {name!r} of the dataset {card.name!r} has the role 'time' but holds {dtype}.")
    elif column.time_zone and not getattr(dtype, "time_zone", None):
        time = time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return time.dt.convert_time_zone(column.time_zone) if column.time_zone else time


def _expression(sql: str, what: str, card: DatasetCard) -> pl.Expr:
    try:
        return pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        raise LabError(
            f"The SQL of {what} in the card {card.name!r} is not valid: {sql!r} ({first_line(error)})."
        ) from None
