PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test test-all test-gpu check clean

demo: $(STAMP)  ## the main job on the embedded model and data, with its report
	$(BIN)/python -m harness run --suite glue --methods lora,lorasp

test: $(STAMP) check  ## lint, types, tests
	$(BIN)/python -m pytest

test-all: $(STAMP) check  ## the slow tests too
	$(BIN)/python -m pytest -m "not gpu"

test-gpu: $(STAMP)  ## the tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

# installs again only when what is to be installed has changed
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
