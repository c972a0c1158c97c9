# The commands of this project. `make help` explains them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with the project and all that its tests need

demo: install  ## train a network plainly and with MixSKD; writes out/demo/report.html
	@$(BIN)/cohobate demo

test: check  ## ruff, pyright and all tests, in two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: install  ## ruff and pyright alone
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

docs: install  ## build the documentation into site/
	$(BIN)/python docs/make.py
	$(BIN)/mkdocs build --quiet

format: install  ## put the code into form
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

clean:  ## remove what tools left behind; keeps .venv and your runs in out/
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist site
	find . -path ./.venv -prune -o -path ./out -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -type d -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "cohobate needs Python 3.11 or newer, and there is no $(PYTHON): try \`make install PYTHON=/path/to/python\`" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cohobate needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): try \`make install PYTHON=python3.11\`" >&2; exit 1; }
	@echo "installing into .venv; the first time takes minutes, since PyTorch is large"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --upgrade pip
	@$(BIN)/python -m pip install -qq -e '.[dev]' -c constraints.txt
	@touch $@
