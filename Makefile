# Every target sets up what it needs by itself; what is already done costs seconds.
#   make lab        JupyterLab on the first notebook
#   make test       every test and every notebook
#   make course     run every notebook headless, with a table of time, memory and claims; copies and HTML under build/
#   make test-fast  everything but the notebooks          make slides   the decks as HTML under build/slides
#   make bench      ours against the libraries            make clean    build products (not .venv, not the models)
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
BIN := $(if $(LLMSUITE_VENV),$(LLMSUITE_VENV),.venv)/bin
# two test files at a time, one thread each (tests/conftest.py); make test WORKERS=0 is one after the other
WORKERS ?= 2
TESTS := -q -n $(WORKERS) --dist loadfile
NBVAL := -p llmsuite_lab.course.nbval_plugin --nbval
export PYTHONUNBUFFERED = 1
.DEFAULT_GOAL := help
.PHONY: help setup lab course test test-fast slides bench clean

help:
	@sed -n '2,5s/^# *//p' Makefile

setup:
	@test -n "$(PYTHON)" || { echo "set-up: no Python 3.11, 3.12 or 3.13 found; install one, or say make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) tools/bootstrap.py

lab: setup
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

course: setup
	$(BIN)/llmsuite notebooks --all --out build/course

test: setup
	$(BIN)/python -m pytest $(TESTS) tests
	$(BIN)/python -m pytest -q $(NBVAL) notebooks

test-fast: setup
	$(BIN)/python -m pytest $(TESTS) -m 'not slow' tests

slides: setup
	$(BIN)/llmsuite slides

bench: setup
	for name in core transformer retrieval peft; do $(BIN)/llmsuite bench $$name || exit 1; done
	@if $(BIN)/python -c 'import sys; from llmsuite_lab.bitnet.kernels.cpu import why_not; sys.exit(bool(why_not()))'; then $(BIN)/llmsuite bench bitnet; \
	else echo "bench bitnet measures a compiled kernel: it needs a C++ compiler and AVX2"; fi
	@if $(BIN)/python -c 'import xllamacpp' 2>/dev/null; then $(BIN)/llmsuite bench generation; \
	else echo "bench generation compares with llama.cpp: $(BIN)/pip install -c constraints.txt -e '.[bench]' and say make bench again"; fi
	@if [ -n "$$LLMSUITE_OLD_TRL_PYTHON" ]; then $(BIN)/llmsuite bench ppo; \
	else echo "bench ppo compares with the last trl that had PPO: set LLMSUITE_OLD_TRL_PYTHON to a Python that has it ($(BIN)/llmsuite bench ppo says how)"; fi

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
