"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
FILES = ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile", ".ci/run")
PYTHONS = ("3.11", "3.12", "3.13")


def locked() -> list[Requirement]:
    """The requirements of the lock: every line that does not start with a space."""
    return [Requirement(line.rstrip("\\ ")) for line in LOCK.splitlines() if line[:1].strip()]


def wanted() -> list[Requirement]:
    return [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]


def environment(python: str) -> dict[str, str]:
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.9"}


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_the_project_on_each_python(python: str) -> None:
    versions = {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in locked()
        if r.marker is None or r.marker.evaluate(environment(python))
    }
    for requirement in wanted():
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing in the lock on Python {python}"
        assert version in requirement.specifier, f"{requirement} is not satisfied by the locked {version}"


def test_lock_has_one_exact_version_for_each_name_and_python() -> None:
    for python in PYTHONS:
        names = [r.name for r in locked() if r.marker is None or r.marker.evaluate(environment(python))]
        assert len(names) == len(set(names))
    assert all(re.fullmatch(r"==[^,*]+", str(r.specifier)) for r in locked())


def test_every_locked_version_has_a_hash() -> None:
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(blocks) == len(locked())
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", ["requirements.lock", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"])
def test_no_index_or_host_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|pythonhosted|pypi\.", text)


def test_conda_gets_the_locked_versions_and_this_package() -> None:
    (pip,) = (entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))
    assert pip[0] == "-e ."
    assert [Requirement(text) for text in pip[1:]] == locked()


def test_conda_python_is_one_the_project_accepts() -> None:
    (text,) = (e for e in CONDA["dependencies"] if isinstance(e, str) and e.startswith("python"))
    conda, project = Requirement(text).specifier, SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20)]
    assert [m for m in minors if m in conda] == list(PYTHONS)
    assert all(m in project for m in PYTHONS)


def test_version_is_the_same_everywhere() -> None:
    import lab_kit

    assert lab_kit.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()
