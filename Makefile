# Everything a person runs. A machine needs python3 (3.11 to 3.14, with venv and pip), make, git and a package index
# (the public one, or the one that pip is configured for); nothing else.
# The environment is made once, in .venv, from the pins in requirements/dev.txt.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check bench lock clean

# The system's own comes first: a distribution builds it with profile-guided optimization, pyenv by default does not, and
# the suite takes half as long again.
PYTHONS := /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
# The first of these that really runs and fits; make PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for python in $(PYTHONS); do $$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)

VENV := .venv
# Written last: an install that was interrupted leaves no stamp and is done again from the start.
INSTALLED := $(VENV)/.installed
RULES := tests/unit/test_imports.py tests/unit/test_catalogue.py tests/unit/test_requirements.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) ## the main job on the embedded emulator, about two minutes; FOLLOW=1 goes on until Ctrl-C
	@exec $(VENV)/bin/python -m tests.emulator.run

test: $(INSTALLED) ## the whole suite, under five minutes
	$(VENV)/bin/python -m pytest -n 6 --dist worksteal

check: $(INSTALLED) ## lint, format (ruff and black agree), types, direction of imports, the catalogue's rules, pins
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/black --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q $(RULES)

bench: $(INSTALLED) ## the figures of tests/benchmarks/RESULTS.md, measured again
	@exec $(VENV)/bin/python -m tests.benchmarks

lock: ## solve pyproject.toml again and export the pins; needs poetry with poetry-plugin-export (see README.md)
	@poetry self show plugins 2>/dev/null | grep -q poetry-plugin-export || \
		{ echo "make lock needs poetry 2 and its plugin poetry-plugin-export: pipx install poetry && pipx inject poetry poetry-plugin-export" >&2; exit 1; }
	poetry lock
	poetry export --only main --without-urls --output requirements/main.txt
	poetry export --with dev --without-urls --output requirements/dev.txt

clean: ## forget the environment, what a run kept, and every cache
	rm -rf $(VENV) .run .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage coverage.xml junit.xml
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What a proxy that opens TLS signs with is known to the system, while uv and an old pip trust a list of their own. uv
# is told so by an option. pip is told where the system keeps its certificates, unless it was configured with others;
# where the system has none, it keeps to its list.
FIND_CERTIFICATES := import os, ssl; paths = ssl.get_default_verify_paths(); \
	print(paths.cafile or (paths.capath if paths.capath and os.listdir(paths.capath) else ""))
# Every package is pinned with its hash, so pip has nothing to resolve: without --no-deps, pip 23.0 to 23.2 (Debian 12)
# takes pytest-cov's "coverage[toml]" for a package without a pin. That nothing is missing, pip check says.
PIP_INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes
UV_INSTALL := $(VENV)/bin/uv pip install --system-certs --compile-bytecode --python $(VENV)/bin/python --require-hashes
# Of some 300 lines each, those that show that it goes on. What went wrong is passed on whole.
UV_PROGRESS := !/^ ([-+~]|Downloaded) / {print; fflush()} /^Installed/ {print "Compiling them"; fflush()}
PIP_PROGRESS := /^Collecting/ && ++packages % 15 == 0 {print packages " packages downloaded"; fflush()} \
	/^Installing/ {print "Installing them"; fflush()}

# uv, at the version that is pinned and with its hashes, installs ten times as quickly as pip. Where it cannot
# (an index that only pip is configured for, say), pip does the same from the same pins.
$(INSTALLED): requirements/dev.txt
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo "Python 3.11 to 3.14 with its venv and pip modules is needed," \
		"and $(if $(PYTHON),$(PYTHON) is not,none of $(PYTHONS) is) one. Install it (Debian, Ubuntu: apt install python3 python3-venv)" \
		"or name yours: make PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version), from the pins in requirements/dev.txt; it takes about a minute"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements/dev.txt >$(VENV)/uv.txt
	@set -o pipefail; \
		certificates=$$($(VENV)/bin/python -c '$(FIND_CERTIFICATES)'); \
		if [ "$$certificates" ] && ! $(VENV)/bin/python -m pip config list | grep -q '[.]cert='; then \
			export PIP_CERT=$$certificates; fi; \
		$(PIP_INSTALL) --quiet -r $(VENV)/uv.txt && $(UV_INSTALL) -r requirements/dev.txt 2>&1 | awk '$(UV_PROGRESS)' || \
		{ echo "uv could not; pip does the same, in some minutes" >&2; \
		$(PIP_INSTALL) -r requirements/dev.txt | awk '$(PIP_PROGRESS)' && $(VENV)/bin/python -m pip check; }
	@touch $@
