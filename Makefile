# Every target sets up what it needs by itself; `make` alone lists them.

SYSTEM_PYTHON ?= python3
# What runs is in .venv. Tests under another Python than the usual one leave that alone.
VENV := $(if $(and $(filter test,$(MAKECMDGOALS)),$(filter-out python3,$(SYSTEM_PYTHON))),.venv-$(notdir $(SYSTEM_PYTHON)),.venv)
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
PEERS := .venv-peers
READY_PEERS := $(PEERS)/.ready
TOOLS := .venv-compile
READY_TOOLS := $(TOOLS)/.ready
BENCHES := $(addprefix bench-,quick metrics memory websocket start switch workers viewers layers balance)
BENCHES += $(addprefix bench-,limits logins log fleet)

# Prints the packages of a dependency group of pyproject.toml, one a line.
GROUP = $(PYTHON) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")'

.DEFAULT_GOAL := help
.PHONY: help setup compile run fleet test peers coverage floor fuzz soak drill canary-sim fleet-model
.PHONY: lint types format reference lock outdated clean bench $(BENCHES)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  make %-15s  %s\n' "$$name" "$$text"; done

setup: $(READY) ## Make .venv with what the router needs to run
	@# Compiled now: a service's user may not write here, and each command would compile anew.
	@$(PYTHON) -m compileall -q app utils
	@$(MAKE) --no-print-directory compile
	@echo 'Ready. Next: make run'

# Its tools are 70 MB, so they are fetched only where there is something to compile, and a compiler.
compile: $(READY) ## Compile what a request's way leads through, where a C compiler is at hand; a minute
	@if $(PYTHON) -m app.compiled.build --can; then \
		$(MAKE) --no-print-directory $(READY_TOOLS) && $(TOOLS)/bin/python -m app.compiled.build \
		|| echo 'Not compiled, so the router runs as plain Python'; fi

run: $(READY) ## Start blue and the router on port 5004; Ctrl-C stops both
	@$(PYTHON) -m app.cli.run

fleet: $(READY) ## Start etcd and a fleet of three nodes on this machine; Ctrl-C ends all
	@$(PYTHON) -m app.cli.run_fleet

# Several at a time, since most of them wait (tests/conftest.py); ARGS="-n 0 -s" shows what they print.
# -rfEs: what failed, and which tests were left out because a program is not here, and which program that is.
test: $(READY_DEV) ## Run all tests, several at a time (SYSTEM_PYTHON=python3.13: under that one)
	@$(PYTHON) -m pytest -n auto --dist worksteal -rfEs --ignore=tests/peers $(ARGS)

# Several packages of these are large, so they are installed where they are wanted only.
peers: $(READY_DEV) $(READY_PEERS) ## Run the tests with other people's servers and clients, some minutes
	@$(PYTHON) -m pytest -n auto --dist worksteal -rfEs tests/peers $(ARGS)

coverage: $(READY_DEV) ## Run all tests and show which branches they left out; takes half as long again
	@$(PYTHON) -m pytest -n auto --dist worksteal --cov --cov-report=term -rfEs --ignore=tests/peers $(ARGS)

# The rules need no process to be tried, so their share takes a minute.
floor: $(READY_DEV) ## Tell which branches of the rules (L0) the tests leave out; there shall be none
	@$(PYTHON) -m pytest -n auto --dist worksteal -q --cov=app --cov-report= tests/protocol tests/state tests/metrics \
		tests/limits tests/logins tests/canary $(foreach rules,sight records waves leading following,tests/fleet/test_$(rules).py) \
		tests/deploy/test_phases.py tests/deploy/test_judgement.py tests/test_*.py $(ARGS)
	@$(PYTHON) -m tests.coverage_floor

fuzz: $(READY_DEV) ## Feed random messages to parsers and lane for ten minutes (ARGS="--seconds 60 --seed 1")
	@$(PYTHON) -m tests.fuzz --seconds 600 $(ARGS)

soak: $(READY_DEV) ## Switch, crash, kill and upgrade under load for two minutes, then balance the books
	@$(PYTHON) -m tests.soak $(ARGS)

# Prints how to have an order of events again that it finds fault with.
fleet-model: $(READY_DEV) ## Put a fleet's events in 10,000 orders: crashes, cut links, backups; half an hour
	@FLEET_INTERLEAVINGS=10000 $(PYTHON) -m pytest -q --timeout=0 tests/fleet/test_protocol_model.py $(ARGS)

drill: $(READY_DEV) ## Break a deployment in every way, and mend it by what is printed, fifteen minutes
	@$(PYTHON) -m tests.drill $(ARGS)

canary-sim: $(READY_DEV) ## Roll out good and bad releases in simulated time, beside others' rules, ten minutes
	@$(PYTHON) -m tests.canary_sim $(ARGS)

lint: $(READY_DEV) ## Check format and style
	@$(PYTHON) -m ruff format --check --quiet . || { echo 'Not in its format; make format'; bad=1; }; \
		$(PYTHON) -m ruff check . && test -z "$$bad"

types: $(READY_DEV) ## Check types, strictly
	@$(PYTHON) -m mypy

format: $(READY_DEV) ## Bring the code into its format
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

reference: $(READY) ## Write the generated pages of docs/ anew
	@$(PYTHON) -m app.cli.configuration_reference
	@$(PYTHON) docs/generate.py

# What these print is explained in bench/README.md; options go into ARGS.
bench: $(READY) ## Measure the router beside nginx, HAProxy, Caddy and a plain Flask proxy, three minutes
	@$(PYTHON) -m bench compare $(ARGS)

bench-quick: ## Measure the router alone, beside the run before, twenty seconds
bench-metrics: ## Measure what the metrics cost
bench-memory: ## Measure memory under requests, downloads and idle connections
bench-websocket: ## Measure WebSocket messages through the router and direct
bench-start: ## Measure the start, and what a changed state costs
bench-switch: ## Measure a switch and a rollback, from the command to the last request of the old version
bench-workers: ## Measure two workers beside one
bench-viewers: ## Measure what viewers of the live page cost the traffic
bench-layers: ## Measure the pieces of a request's way, without sockets
bench-balance: ## Measure several backends, one slow or killed, beside nginx, HAProxy, Envoy and Traefik
bench-limits: ## Measure what limits and refusals cost, and how exact a rate is over four workers
bench-logins: $(READY_DEV) ## Measure logins by token and by auth service, beside nginx and Traefik
bench-log: ## Measure what a line of the access log costs, and count a million of them over rotations and reloads
bench-fleet: ## Measure a deploy with 100 agents, from its begin to the last switch, and what they cost at rest
bench-policy: bench-limits bench-logins bench-log ## Measure these three: who may, how often, and what is written of it
$(BENCHES): bench-%: $(READY)
	@$(PYTHON) -m bench $* $(ARGS)

clean: ## Remove .venv and caches; .local_context, the deployment's state, stays
	rm -rf .venv .venv-* app/compiled/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: $(READY_DEV) ## Write requirements.lock anew, for every Python from 3.11 on
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		requirements.txt --output-file requirements.lock

outdated: $(READY_DEV) ## Tell which packages there are newer releases of
	@$(PYTHON) -m pip list --outdated --disable-pip-version-check

# The stamps make the second time instant; a changed list of packages makes them stale.
$(READY): requirements.lock
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed; name one with: make SYSTEM_PYTHON=python3.12'; exit 1; }
	@test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo 'No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@echo 'Installing requirements.lock into $(VENV) …'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(READY_DEV): $(READY) pyproject.toml
	@echo 'Installing the developer tools of pyproject.toml into $(VENV) …'
	@$(GROUP) dev > $(VENV)/dev-requirements.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $(VENV)/dev-requirements.txt
	@touch $@

$(READY_PEERS): $(READY) pyproject.toml
	@echo 'Installing the servers and clients of pyproject.toml into $(PEERS) …'
	@test -x $(PEERS)/bin/python || $(SYSTEM_PYTHON) -m venv $(PEERS)
	@$(GROUP) peers > $(PEERS)/requirements.txt
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(PEERS)/requirements.txt
	@touch $@

$(READY_TOOLS): $(READY) pyproject.toml
	@echo 'Installing the compiler of pyproject.toml into $(TOOLS) …'
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(GROUP) compile > $(TOOLS)/requirements.txt
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(TOOLS)/requirements.txt
	@touch $@
