# Everything a person or CI runs. `make help` lists it. Nothing but Python, gcc/g++, cmake and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SIMULATOR := CMakeLists.txt $(shell find runtime/sim -name '*.cpp' -o -name '*.hpp')

.PHONY: help install demo test lint bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(INSTALLED): pyproject.toml $(SIMULATOR) | $(BIN)/python
	@echo "installing TVM, PyTorch and the rest into $(VENV) (about two minutes)"
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[all]'
	touch $@

install: $(INSTALLED) ## set up the virtual environment

demo: $(INSTALLED) ## train a CNN on the simulated cluster and compare with PyTorch
	$(BIN)/python examples/demo.py

test: $(INSTALLED) lint ## run the tests
	$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST)

lint: $(INSTALLED) ## ruff and mypy, warnings are errors
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	rm -rf build/typecheck && mkdir -p build/typecheck/tvm_pulp
	ln -s $(CURDIR)/tvm_pulp/* $(CURDIR)/passes $(CURDIR)/schedules $(CURDIR)/target $(CURDIR)/runtime build/typecheck/tvm_pulp/
	cd build/typecheck && $(CURDIR)/$(BIN)/python -m mypy --config-file $(CURDIR)/pyproject.toml -p tvm_pulp

bench: $(INSTALLED) ## print simulated cycles beside the machine's limit and other implementations
	$(BIN)/python benchmarks/run.py

clean: ## remove the virtual environment and build files
	rm -rf $(VENV) build
