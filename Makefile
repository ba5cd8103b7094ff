# make demo       pre-train on NAS-Bench-201 and NAS-Bench-101, print the quality of both
# make test       fast tests; ARCHREP_DATA=<folder> adds those that need benchmark tables
# make test-slow  the other tests
# make lint       formatting, style and types
# make format     repair formatting and simple style faults
# make docs       the documentation, into docs/_build
# make setup      only the .venv that all of these need; TORCH=keep leaves the torch you have
# make clean      remove what the tools left behind; keeps .venv and runs

TORCH ?= cpu
RUNS ?= runs/demo
BIN := .venv/bin
DEMO := $(RUNS)/nasbench201 $(RUNS)/nasbench101

.PHONY: help setup demo test test-slow lint format docs clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup:
	@TORCH="$(TORCH)" PYTHON="$(PYTHON)" .ci/setup.sh

demo: setup $(DEMO:%=%/summary.json)
	$(BIN)/archrep report $(DEMO)

# A run that was cut off has a config and no summary; it goes on where it stood.
$(RUNS)/%/summary.json: | setup
	$(BIN)/archrep pretrain $* --out $(@D) $(if $(wildcard $(@D)/config.json),--resume)

# Two processes of one thread each are faster than one of two.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: setup
	$(PYTEST)

test-slow: setup
	$(PYTEST) -m slow

lint: setup
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy archrep

format: setup
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

clean:
	rm -rf docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
