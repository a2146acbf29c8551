# The only list of commands. Each target does all of its own set-up.
.DEFAULT_GOAL := check
SHELL := /bin/sh
.PHONY: setup setup-dev demo run test lint check module docs bench search clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  && echo $$p && break; done)

define NO_PYTHON
需要 Python 3.11 或更高版本（未找到）。
Python 3.11 or newer is needed and was not found.
endef
define NO_VENV
此 Python 缺少 venv 模块。Debian/Ubuntu：apt install python3-venv
This Python has no venv module. Debian/Ubuntu: apt install python3-venv
endef
export NO_PYTHON NO_VENV

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "$$NO_PYTHON" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$$NO_VENV" >&2; exit 1; }
	@echo "准备运行环境 / preparing the environment …"
	@$(PYTHON) -m venv $(VENV)

# Wheels only, so no compiler is needed; hashes, so nothing else than what was tried gets in.
$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(PIP) install --only-binary :all: --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@$(PIP) install --only-binary :all: --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.run

setup-dev: $(VENV)/.dev

# Three days of a city in about a minute, then an hour live, then it keeps serving.
# ARGS="--exit --json FILE" ends by itself and writes the summary.
demo: setup
	@$(BIN)/vaxtrail demo $(ARGS)

run: setup
	@$(BIN)/vaxtrail up $(ARGS)

# Formats, lint, types, contracts.
lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What to run before every commit: the above and all specs, without a database.
check: lint
	$(BIN)/pytest -q --no-header -m "not database and not broker and not journey"

# Everything, with the real database and broker; the coverage gate stands in pyproject.toml.
test: lint
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(ARGS)
	$(BIN)/coverage report --include='domain/*' --fail-under=100 --skip-covered

# Tests by examples, with others than everybody has: again and again, until one fails.
search: setup-dev
	@while $(BIN)/pytest -q --no-header -m hypothesis --hypothesis-profile=search $(ARGS); do :; done

# make module NAME=telemedicine
module: setup-dev
	@$(BIN)/python -m tests.scaffold $(NAME)

docs: setup-dev
	@$(BIN)/python -m tests.reference

# make bench W=w1|w2|w3|w4|w5|w6|capture|check|kill|burst|backlog|soak|rules; docs/performance.md tells what each is.
W ?= w1
bench: setup-dev
	@$(BIN)/python -m bench $(W) $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info .coverage*
	find . -name __pycache__ -prune -exec rm -rf {} +
