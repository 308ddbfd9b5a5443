# The same words for everybody: a newcomer, a developer, CI.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo consortium chaos guides test lint fix attacks audit bench docs clean

demo: .venv/core            ## five retailers, real data, five tasks, a table and a report
	$(BIN)/grandtotal demo

consortium: .venv/test      ## the demo's plan across six processes with mutual TLS: the same digests
	$(BIN)/python -m grandtotal.loopback

chaos: .venv/test           ## kills processes at random moments, over pipes and through FLARE: an hour
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m benchmarks.chaos --write

guides:                     ## walks both guides as four system users, from a clean clone; needs root
	$(PYTHON) tests/walk_guides.py

test: .venv/test lint       ## every check and every test
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

fix: .venv/test             ## formats, and mends what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/generate.py

attacks: .venv/test         ## every attack on the door, and the check that stops it
	PYTHONPATH=tests $(BIN)/python -m attacks.table

bench: .venv/reference      ## measures into benchmarks/results.md
	$(BIN)/python -m benchmarks all --write

audit: .venv/test           ## what grandtotal audit finds: planted bugs, and no false alarm
	$(BIN)/python -m benchmarks audit

docs: .venv/test            ## writes what is generated in docs/
	$(BIN)/python docs/generate.py

.venv/core: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 demo")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	touch $@

.venv/test: .venv/core
	sh tests/install-packages.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[sql,test]'
	touch $@

# Libraries that the benchmarks measure beside ours, and no test needs.
.venv/reference: .venv/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[reference]'
	touch $@

clean:
	rm -rf .venv demo runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
