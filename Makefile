# Two commands are the whole set-up: `make demo` and `make test`.
export PYTHONSAFEPATH = 1
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Many tests wait for processes of their own: one worker more than cores keeps the cores busy.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: help install install-dev demo test check handoff clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/python -m compileall -q agents core experiments issues kernels
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgres]'
	touch $@

install: $(VENV)/.installed      ## make .venv and install ArcFusion
install-dev: $(VENV)/.installed-dev   ## the same with the test tools

demo: install    ## a fresh lab, one worker, three issues, the result on screen
	$(BIN)/arcfusion demo

test: install-dev   ## the whole suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered

check: install-dev   ## linters, types, layers, then the whole suite
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p arcfusion
	$(BIN)/lint-imports
	$(MAKE) test

handoff: install  ## write HANDOFF.md from the backlog and the committed reports
	$(BIN)/arcfusion handoff --repository .

clean:           ## remove what the targets made
	rm -rf $(VENV) .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
