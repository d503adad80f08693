# All targets work on a fresh checkout; the venv is made on first use and renewed when the lock changes.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: up down test check bench lock venv

up: venv       ## two local clusters and the mesh between them, then a report
	@$(RUN) -m lab up

down: venv     ## take all of it away
	@$(RUN) -m lab down

test: venv     ## two files of tests at a time, each worker with control planes of its own: they wait more than they compute
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile

check: venv
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

bench: venv
	@$(RUN) -m bench

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.12")

venv:          ## one at a time: a second make beside the first waits for it, and then finds it done
	@$(MAKE) -q $(VENV)/.ready || { $(PYTHON) -c '$(NEW_ENOUGH)' && \
	  $(PYTHON) -m lab.lock $(VENV) $(MAKE) -s $(VENV)/.ready; }

$(VENV)/.ready: requirements-dev.txt
	@echo "Setting up $(VENV) from the lock ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

lock:          ## renew the pinned, hashed requirements from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  pyproject.toml --output-file requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  pyproject.toml --group dev --output-file requirements-dev.txt
