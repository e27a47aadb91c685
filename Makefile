# Each target is the only command a newcomer types: what it needs is installed first.
SHELL := /bin/bash
PYTHON := /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

APT := frr frr-pythontools python3-bpfcc linux-libc-dev libpcap0.8 git iproute2 util-linux \
       iputils-ping iperf3 python3-venv systemd bird2 gobgpd exabgp tshark

.PHONY: help setup packages demo test lint gen bench lock clean

help:
	@echo "make setup   install what a fresh Debian 12 or Ubuntu 24.04 needs, and .venv (root)"
	@echo "make demo    two boxes on this machine, from nothing to traffic at the centre (root)"
	@echo "make test    every test, on the real kernel and FRR (root)"
	@echo "make lint    ruff, mypy --strict, import-linter, generated files up to date"
	@echo "make gen     schemas and pages that are made from the spec language"
	@echo "make bench   benchmarks as ratios against peers; ONLY=name for one (root)"
	@echo "make lock    pin the dependencies anew"

setup: $(STAMP)

# Asked every time (a tenth of a second): a package may have been removed since.
packages:
	@scripts/install-packages $(APT)

$(STAMP): requirements.lock pyproject.toml | packages
	@echo "setup: python packages into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv --system-site-packages $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

# Two files at a time: a test mostly waits, for the kernel, FRR or a clock. A file stays with one worker, so that
# what its tests share is made once.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate.py --check

gen: setup
	@$(BIN)/python scripts/generate.py

bench: setup
	@$(BIN)/python -m benchmarks $(ONLY)

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' --no-emit-index-url --no-emit-find-links \
	  -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build
