PYTHON ?= python3
BIN := .venv/bin
# two workers of one thread each: torch's own threads gain little on models this small; tests/conftest.py has the order
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
STAMP := .venv/.installed

.PHONY: demo test test-all test-gpu check docs lint types tests tests-all clean

demo: $(STAMP)  ## the main job on the embedded model and data, with its report
	$(BIN)/python -m harness run --suite glue --methods lora,lorasp
	@echo "for further commands: . $(BIN)/activate"

# mypy with an empty cache takes as long as the first tests: it runs beside them, and an error of either ends with exit 2
test: lint  ## lint, types, tests
	$(MAKE) --no-print-directory -j 2 types tests

test-all: lint  ## the slow tests too
	$(MAKE) --no-print-directory -j 2 types tests-all

test-gpu: $(STAMP)  ## the tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu

check: lint types

docs: .venv/.installed-docs  ## the site of the pages in docs/, in build/site; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site is in build/site/index.html"

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	$(PYTEST)

tests-all: $(STAMP)
	$(PYTEST) -m "not gpu"

# installs again only when what is to be installed has changed
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

.venv/.installed-docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
