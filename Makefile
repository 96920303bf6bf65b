PYTHON ?= python3
BIN := .venv/bin
# two workers of one thread each: torch's own threads gain little on models this small
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile
STAMP := .venv/.installed

.PHONY: demo test test-all test-gpu check clean

demo: $(STAMP)  ## the main job on the embedded model and data, with its report
	$(BIN)/python -m harness run --suite glue --methods lora,lorasp

test: $(STAMP) check  ## lint, types, tests
	$(PYTEST)

test-all: $(STAMP) check  ## the slow tests too
	$(PYTEST) -m "not gpu"

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
