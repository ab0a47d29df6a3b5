# Every target sets up what it needs: Python 3.11 or newer, with venv, is all that must be there before.
# Arguments are passed on: `make test ARGS="tests/core -k fold"`, `make lock ARGS=--upgrade`, `make demo PYTHON=python3.13`.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ARGS ?=
MINUTES ?= 10
MINUTES_80 ?= 60
MINUTES_200 ?= 10
LOG ?= both

venv := .venv
bin := $(venv)/bin
# The stamp's name holds a checksum of what is installed from, so that a changed lock installs anew and a touched file does not.
stamp := $(venv)/ready-$(shell cat requirements/dev.txt pyproject.toml | cksum | cut -d ' ' -f 1)
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
compile := UV_CUSTOM_COMPILE_COMMAND="make lock" $(bin)/uv pip compile --quiet \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-kafka bench-peers bench-size bench-endurance performance chaos soak lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 22

demo: $(stamp) ## a durable function, and a worker killed in the middle of it: ARGS=saga for a pattern of docs/patterns.md
	$(bin)/python examples/demo.py $(ARGS)

test: check ## check, then all tests
	$(bin)/python -m pytest -n 3 --dist loadfile --durations 10 $(ARGS)

check: $(stamp) ## style, types and layers, without running anything
	$(bin)/ruff check
	$(bin)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(bin)/pyright
	$(bin)/lint-imports --no-logo

bench: $(stamp) ## measure, and hold the figures against their budgets
	$(bin)/python benchmarks/run.py $(ARGS)

bench-kafka: $(stamp) ## the same on Kafka, beside a raw loop of its client on the same broker
	$(bin)/python benchmarks/run.py $(ARGS) --kafka

bench-endurance: $(stamp) ## load at 80 % and at 200 % of what the machine can do: MINUTES_80=60 MINUTES_200=10 ARGS=--kafka
	$(bin)/python benchmarks/endurance.py --minutes-80 $(MINUTES_80) --minutes-200 $(MINUTES_200) $(ARGS)

performance: $(stamp) ## the tables of docs/performance.md anew, from the figures that `make bench ARGS=--keep` has kept
	$(bin)/python benchmarks/performance.py

bench-peers: $(stamp) ## the same workloads on DBOS, Restate and Celery, in turn, with a plot
	$(bin)/python benchmarks/peers/run.py $(ARGS)

bench-size: $(stamp) ## very many sleeping runs: ARGS="--runs 1000000 --log kafka" for others than 200,000 on a file
	$(bin)/python benchmarks/size.py $(ARGS)

chaos: $(stamp) ## faults at random over real processes, checked: MINUTES=10 SEED=1 LOG=sqlite|kafka|both
	$(bin)/python -m tests.chaos --minutes $(MINUTES) --log $(LOG) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: $(stamp) ## 10,000 simulated lives on each kind of log: ARGS="--seeds 500 --first 20000" for others
	$(bin)/python -m tests.simulation.soak $(ARGS)

lock: $(stamp) ## pin requirements/*.txt anew, with hashes
	$(compile) pyproject.toml -o requirements/base.txt $(ARGS)
	$(compile) pyproject.toml -o requirements/dev.txt --all-extras --group dev $(ARGS)
	@! grep -nE '://|^--' requirements/*.txt || { echo "A lock must name no address and hold no option."; exit 1; }

clean: ## remove what make made; logs under .perdure stay
	rm -rf $(venv) dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find framework connectors tests examples benchmarks infra -name __pycache__ -type d -prune -exec rm -rf {} +

$(stamp):
	@test -n "$(PYTHON)" || { echo "perdure needs Python 3.11 or newer, and none was found: install one, or name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) comes without venv: on Debian and Ubuntu, 'apt-get install python3-venv' brings it."; exit 1; }
	@echo "Setting up $(venv) from requirements/dev.txt: about a minute, once."
	@test -x $(bin)/python && $(bin)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(venv)
	@$(pip) install --require-hashes -r requirements/dev.txt
	@$(pip) install --no-deps --no-build-isolation --editable .
	@rm -f $(venv)/ready-*
	@touch $@
