# The two commands of the README: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# So many processes share the tests, each with one thread; those marked `alone` come after them.
JOBS ?= 2
TOGETHER := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	--no-loadscope-reorder

.PHONY: demo test test-fast lint types bench clean

demo: $(STAMP)
	$(BIN)/python samples/demo.py

test: $(STAMP)
	$(TOGETHER) -m "not alone"
	$(BIN)/python -m pytest -m alone

test-fast: $(STAMP)
	$(TOGETHER) -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	for script in samples/benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgecnn needs Python 3.11 or newer; pass PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build demo
