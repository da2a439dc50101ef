# `make run`, `make test` and `make check` each set up what they need.
VENV ?= .venv
BIN := $(VENV)/bin
# the first interpreter that will do; any is named with make PYTHON=…
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# where a CPU build of torch lies in pip's find-links, the pinned version resolves to it
# what is imported is compiled then, and that is a part of what is installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-slow check docs clean

run: $(VENV)/installed
	$(BIN)/run_recbole --model=IRLLRec --dataset=ml-100k

# two processes of one thread each: faster than one of two, and the same on any machine
test: $(VENV)/installed-dev
	RAY_worker_niceness=0 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the pages of docs as a site, in site/
docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "recbole-irllrec needs Python 3.11 or newer and found none: install one, or name it with make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/wheels: $(BIN)/python constraints.txt tools/recbole_wheel.py
	$(PIP) torch
	$(BIN)/python tools/recbole_wheel.py $@
	touch $@

$(VENV)/installed: $(VENV)/wheels setup.py
	$(PIP) -e . $(VENV)/wheels/recbole-*.whl
	touch $@

$(VENV)/installed-dev: $(VENV)/wheels setup.py
	$(PIP) -e '.[dev]' $(VENV)/wheels/recbole-*.whl
	touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
