# One entry for people and for CI. Everything is made below this folder: .venv (daemon, clients, tools),
# .venv-rubin (the Rubin stack of the demo facilities), .venv-rucio (a Rucio server for its tests),
# build/ (what runs leave behind).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUBIN := .venv-rubin
RUCIO := .venv-rucio
PIP_FLAGS := --quiet --disable-pip-version-check
DEPLOYED := postgres ssh web oidc notify sinks otel panda rucio kafka
PYTEST := $(BIN)/python -m pytest

# Tests start hundreds of processes, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-rucio demo-panda demo-standby serve demo-small test check test-arc test-chain test-chain-rucio test-crash test-deployment test-postgres test-prometheus test-rucio test-panda test-web crash soak fuzz bench bench-databases bench-rucio proto rubin rucio wheel lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.daemon: pyproject.toml proto/build_hook.py $(wildcard proto/cmd_api/v1/*.proto)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[ssh,web]'
	@touch $@

.venv/.dev: .venv/.daemon
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@

$(RUBIN)/.stack: requirements-rubin.txt
	@test -x $(RUBIN)/bin/python || $(PYTHON) -m venv $(RUBIN)
	$(RUBIN)/bin/python -m pip install $(PIP_FLAGS) --requirement requirements-rubin.txt
	@touch $@

$(RUCIO)/.server: requirements-rucio.txt
	@test -x $(RUCIO)/bin/python || $(PYTHON) -m venv $(RUCIO)
	@began=$$(date +%s) && $(RUCIO)/bin/python -m pip install $(PIP_FLAGS) --requirement requirements-rucio.txt \
		&& echo "Rucio is installed in $(RUCIO), in $$(($$(date +%s) - began)) s"
	@touch $@

rucio: $(RUCIO)/.server  ## install the Rucio server of test-rucio

rubin: $(RUBIN)/.stack  ## install the Rubin stack of the demo facilities

demo: .venv/.daemon $(RUBIN)/.stack  ## the full chain: a campaign over three facilities, checked against the truth
	$(BIN)/python examples/full-chain/run.py

demo-rucio: .venv/.dev $(RUBIN)/.stack rucio  ## the full chain with a real Rucio as the mover
	$(BIN)/python examples/full-chain/run.py --rucio

demo-panda: .venv/.dev $(RUBIN)/.stack  ## the full chain in small with a PanDA that runs everything
	$(BIN)/python examples/full-chain/run.py --small --panda

demo-standby: .venv/.dev $(RUBIN)/.stack  ## the full chain in small on PostgreSQL; the leader of two daemons is killed, then frozen
	$(BIN)/python examples/full-chain/run.py --small --standby

serve: .venv/.daemon  ## run the daemon of the last demo again, to look around
	$(BIN)/python examples/full-chain/run.py --serve

demo-small: .venv/.daemon $(RUBIN)/.stack  ## the same sky in small at one facility, in a minute
	$(BIN)/python examples/demo/run.py

check: .venv/.dev  ## lint, types, room rules, contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/released/v1.binpb

test: check $(RUBIN)/.stack  ## check, and the tests of every room
	$(PYTEST) -n 3 --dist loadscope --no-loadscope-reorder --ignore tests/crash --ignore tests/crash_campaign

test-crash: .venv/.dev  ## daemons killed at every named point, frozen, cut off, and a small crash campaign (five minutes)
	$(PYTEST) -n 2 --dist loadfile tests/crash tests/crash_campaign

test-arc: .venv/.dev  ## scripts through a real A-REX from Debian (root, two minutes)
	tests/housekeeping/real_arex.sh $(CURDIR)/$(BIN)/python

test-chain: .venv/.dev $(RUBIN)/.stack  ## the full chain with every part killed or failing on the way (seven minutes)
	$(PYTEST) tests/demo/chain_killed.py tests/demo/chain_faults.py

test-postgres: .venv/.dev $(RUBIN)/.stack  ## store, engine and crash tests on PostgreSQL, and the full chain without its leader
	$(PYTEST) --database postgresql -n 2 --dist loadscope --no-loadscope-reorder tests/store tests/engine tests/schedules tests/crash
	$(PYTEST) tests/demo/chain_standby.py

test-deployment: .venv/.dev  ## the deployment guide on a fresh Debian under systemd, in a container (root, five minutes)
	$(PYTEST) tests/deployment/guide_followed.py

test-prometheus: .venv/.dev  ## alert rules in a real Prometheus from Debian, before a real daemon
	$(PYTEST) tests/prometheus

test-rucio: .venv/.dev $(RUBIN)/.stack rucio  ## a real Rucio from nothing: server, daemons, transfers, messages
	$(PYTEST) tests/rucio_butler/live

test-chain-rucio: .venv/.dev $(RUBIN)/.stack rucio  ## the full chain with Rucio as the mover and a killed daemon
	$(PYTEST) tests/demo/chain_rucio.py

test-panda: .venv/.dev $(RUBIN)/.stack  ## real BPS submits to the contract server of PanDA, which runs it
	$(PYTEST) -n 2 --dist loadscope tests/panda_bps/live tests/panda_plugin/live tests/panda_server/live

test-web: .venv/.dev  ## the dashboard in a headless Chromium of Debian (root installs it, three minutes)
	$(PYTEST) tests/web/browser_*.py

crash: .venv/.dev  ## kill a daemon 500 times (KILLS=, SEED=, ROUND=rucio:0) and prove that nothing was lost or done twice
	$(BIN)/python tests/crash_campaign/run.py $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(ROUND),--round $(ROUND))

soak: .venv/.dev  ## constant load for 20 minutes (LENGTH=) on each database: what must be flat is flat
	$(BIN)/python tests/soak/run.py $(if $(LENGTH),--minutes $(LENGTH))

fuzz: .venv/.dev  ## the fuzz tests with 300 inputs each instead of 10 (ten minutes)
	CMD_FUZZ=300 $(PYTEST) --timeout 1800 tests/api/test_api_fuzz.py tests/plugins/test_agent_fuzz.py tests/engine/test_engine_fuzz.py tests/spec/test_fuzz.py

bench: .venv/.dev  ## speed and memory, as a table and in build/bench.json
	$(BIN)/python tests/bench/run.py

bench-rucio: .venv/.dev $(RUBIN)/.stack rucio  ## moving files through a real Rucio, against rucio-register, as a table
	$(BIN)/python tests/bench_rucio/run.py $(if $(FILES),--files $(FILES))

bench-databases: .venv/.dev  ## SQLite against PostgreSQL, transitions a second, as a table
	$(BIN)/python tests/bench/databases.py

proto: .venv/.dev  ## generate cmd_api from the contract again
	$(BIN)/python proto/build_hook.py

wheel: .venv/.dev  ## the daemon, its plugins and clients as a wheel in dist/
	$(BIN)/python -m pip wheel $(PIP_FLAGS) --no-deps --no-build-isolation --wheel-dir dist .

lock:  ## renew deploy/requirements.lock, the packages of a deployment with their hashes
	@test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install $(PIP_FLAGS) uv; }
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url $(addprefix --extra ,$(DEPLOYED)) --output-file deploy/requirements.lock pyproject.toml

clean:  ## remove what runs have left behind (not the virtual environments)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
