"""The shape of the package, read from its source: layers, sizes, and who may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lab_kit"

# A module imports only from layers before its own, and never from its own.
LAYERS = (
    ("arrays", "card_steps", "ending", "look", "memory", "screen", "stopping", "front", "track"),
    ("schema", "knobs"),
    ("steps", "tables", "store", "encoder", "splits", "stream", "fields"),
    ("datasets", "clean", "features", "dropout", "devices"),
    ("model", "optimizers", "metrics", "schedules"),
    ("steering", "weights"),
    ("config", "engine", "feed", "orders"),
    ("train", "sweep_program", "race"),
    ("checkpoints",),
    ("runs", "predict", "sweep", "search", "scale", "race_plots"),
    ("evaluate", "bundle", "table_plots", "training_plots", "page", "keeping", "run_store", "sweep_curves"),
    (
        "plots",
        "workspace",
        "settings",
        "moment",
        "live_plots",
        "picture",
        "mlflow_export",
        "sweep_plots",
        "search_plots",
        "sweep_axes",
        "scale_plots",
    ),
    ("live", "curves", "sweep_moment"),
    ("race_panel", "controls", "run_table", "sweep_panel", "report"),
    ("train_command",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
SHOWS_WIDGETS = (
    *("front", "fields", "settings", "curves", "controls"),
    *("run_table", "sweep_axes", "sweep_panel", "race_panel"),
)
LAYER = {name: number for number, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names a module imports anywhere in it, with relative imports made absolute."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ("lab_kit" if node.level else "", node.module)))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inner_imports(path: Path) -> set[str]:
    """The modules of lab_kit that a module imports, by short name."""
    dotted = (name.split(".") for name in imports(path))
    return {parts[1] for parts in dotted if parts[0] == "lab_kit" and len(parts) > 1 and parts[1] != "__version__"}


def outer_imports(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"lab_kit"}


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_go_upwards_only(path: Path) -> None:
    assert path.stem in LAYER, f"give {path.name} a layer in this test, in the design and in the README"
    wrong = {name for name in inner_imports(path) if LAYER.get(name, len(LAYERS)) >= LAYER[path.stem]}
    assert wrong == set()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330, "about 300 lines at most: split it"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_who_may_use_what(path: Path) -> None:
    module, outer = path.stem, outer_imports(path)
    if module in ("model", "metrics", "devices", "train"):
        assert "polars" not in outer
    if module not in SHOWS_WIDGETS:
        assert "ipywidgets" not in outer
    if module != "devices":
        uses = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute) and n.attr == "pmap"]
        assert uses == []
        assert "jax.pmap" not in set(imports(path))
    assert not outer & {"pickle", "cloudpickle", "pandas"}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_star_imports_and_no_passing_on_of_unnamed_arguments(path: Path) -> None:
    assert not any(name.endswith(".*") for name in imports(path))
    for function in ast.walk(tree(path)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.args.kwarg:
            name = function.args.kwarg.arg
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            doubles = (k.value for call in calls for k in call.keywords if k.arg is None)
            passed_on = [v for v in doubles if isinstance(v, ast.Name) and v.id == name]
            assert passed_on == [], f"{function.name} passes **{name} on: name the arguments"


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """The public functions, classes and methods of a body, with their dotted names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            protocol = isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
            if isinstance(node, ast.ClassDef) and not protocol:  # a Protocol's members are described by its class
                yield from public(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_public_name_is_described(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module), f"{path.name} does not say what it is for"
    assert [name for name, node in public(module.body) if not ast.get_docstring(node)] == []


def test_importing_the_package_is_cheap() -> None:
    heavy = ("jax", "flax", "optax", "polars", "plotly", "ipywidgets", "sklearn", "numpy", "pydantic")
    code = f"import sys, lab_kit; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "import lab_kit.a\nfrom lab_kit import b\nfrom lab_kit.c import d\n"
        "from . import e\nfrom .f import g\ndef late():\n    from lab_kit import h\n"
    )
    assert inner_imports(path) == {"a", "b", "c", "e", "f", "h"}
