# Lab Kit: `make help` lists the commands. They need Python 3.11 or newer with venv and pip, and make; nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.lab-kit-ready
# Modules of benchmarks/ that `make bench` runs: all that are there, each as `python -m benchmarks.NAME`.
BENCHMARKS := $(patsubst benchmarks/%.py,%,$(filter-out %/__init__.py,$(wildcard benchmarks/*.py)))
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help setup lab test test-fast report lint format bench lock clean

help:  ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install the locked versions into .venv (the other commands do this by themselves)

# Runs once for each change of the versions. uv is installed by pip at the locked version, hash checked, and does the rest.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Lab Kit needs Python 3.11 or newer, and $(PYTHON) is %d.%d: run `make PYTHON=/path/to/python3.11` with a newer one." % sys.version_info[:2])'
	@echo "Setting up $(VENV) (about a minute, only when the locked versions change) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "$(VENV) is ready."

lab: setup  ## open JupyterLab at the notebooks
	$(BIN)/lab-kit lab

test: setup  ## run all tests (with the notebooks, and the browser where Chromium is installed)
	$(BIN)/python -m pytest

test-fast: setup  ## run the tests that take seconds: no notebooks, no browser
	$(BIN)/python -m pytest -m "not slow and not notebooks and not browser"

report: setup  ## execute the notebooks on flights and write one HTML file to workspace/flights/reports/
	$(BIN)/lab-kit report

lint: setup  ## check style, types, and that the notebooks carry no outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/strip.py $(NOTEBOOKS)

format: setup  ## put code in shape and take the outputs out of the notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	-@$(BIN)/python .ci/strip.py --write $(NOTEBOOKS)

bench: setup  ## measure, with the modules of benchmarks/
	@test -n "$(BENCHMARKS)" || echo "benchmarks/ holds no module yet, so there is nothing to measure."
	@set -e; for name in $(BENCHMARKS); do echo "benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name; done

lock: setup  ## choose new versions within pyproject.toml and write requirements.lock and environment.yml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --quiet --upgrade -o requirements.lock
	@{ sed '/^      - -e /q' environment.yml; sed -n 's/^\([a-z0-9].*[^ ]\) *\\$$/      - "\1"/p' requirements.lock; } > environment.new
	@mv environment.new environment.yml

clean:  ## remove what the tools left behind (keeps .venv and workspace/)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build tests/artifacts
	find lab_kit tests notebooks .ci -name __pycache__ -type d -prune -exec rm -rf {} +
