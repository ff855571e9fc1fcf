# Everything a contributor or a new user types. `make demo` and `make test` work on a fresh clone
# with nothing but Python (3.11 or later) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What an environment was made from: when it changes, the environment is brought up to date.
MADE_FROM := pyproject.toml constraints.txt hatch_build.py \
             $(wildcard server/cascade_server/engines/native/*.[ch]) \
             $(wildcard tables/cascade_tables/codecs/native/*.[ch])
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PROTO := $(wildcard proto/cascade_proto/*.proto)

.DEFAULT_GOAL := help
.PHONY: help demo test kill-test check format proto proto-check manifests dashboard configuration models figures \
        load-figures faults loadtest soak fuzz sbom audit screenshots clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | \
	  awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What the server, the client and the demo need: no torch.
$(VENV)/.serve: $(MADE_FROM) | $(BIN)/python
	@echo "installing the server and the client into $(VENV)"
	@$(PIP) --editable '.[server]'
	@touch $@

# And what scores with it: the example with which the demo ends.
$(VENV)/.demo: $(MADE_FROM) | $(BIN)/python
	@echo "installing the server, the client and the scoring example into $(VENV)"
	@$(PIP) --editable '.[server,examples]'
	@touch $@ $(VENV)/.serve

# torch comes first and by itself: the CPU build, where the index has one, is what pip keeps.
$(VENV)/.dev: $(MADE_FROM) | $(BIN)/python
	@echo "installing everything for development into $(VENV)"
	@$(PIP) torch
	@$(PIP) --editable '.[server,cache,jobs,distill,examples,dev]'
	@touch $@ $(VENV)/.serve $(VENV)/.demo

demo: $(VENV)/.demo ## Start a server, ask it for rows, real time and offline, and score with it
	@$(BIN)/python -m examples.demo

# Tests run in one process more than there are cores, four at most, since many wait for a server that
# begins or ends; WORKERS may be given: make test WORKERS=1. Hundreds of processes are started
# meanwhile: what is compiled is kept, whatever the environment says.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))')
test: $(VENV)/.dev ## Run every test
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest \
	  --numprocesses $(WORKERS) --dist worksteal

# KILLS and SEED may be given: make kill-test KILLS=500 SEED=2
kill-test: $(VENV)/.dev ## Kill a server's processes fifty times at random while it makes jobs
	@OMP_NUM_THREADS=1 CASCADE_KILLS=$(or $(KILLS),50) CASCADE_KILL_SEED=$(or $(SEED),1) \
	  $(BIN)/python -m pytest --numprocesses 2 tests/integration/jobs/test_interrupted.py -k whoever_is_killed

check: $(VENV)/.dev proto-check ## Lint, types, imports between rooms, and generated code up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

PROTOC = $(BIN)/python -m grpc_tools.protoc -Iproto $(PROTO) --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy

proto: $(VENV)/.dev ## Generate the wire contract's Python code
	@$(PROTOC) --python_out=proto --grpc_python_out=proto --mypy_out=quiet:proto

proto-check: $(VENV)/.dev
	@rm -rf $(VENV)/proto && mkdir -p $(VENV)/proto
	@$(PROTOC) --python_out=$(VENV)/proto --grpc_python_out=$(VENV)/proto --mypy_out=quiet:$(VENV)/proto
	@for file in $(VENV)/proto/cascade_proto/*; do \
	  cmp -s $$file proto/cascade_proto/$$(basename $$file) || \
	  { echo "proto/cascade_proto/$$(basename $$file) is out of date; run: make proto"; exit 1; }; done

KUBERNETES := deploy/kubernetes
manifests: $(VENV)/.serve ## Write the Kubernetes manifests that are made of slo.yaml
	@$(BIN)/cascade slo rules --slo $(KUBERNETES)/server/slo.yaml --kubernetes cascade \
	  > $(KUBERNETES)/monitoring/prometheusrule.yaml

dashboard: $(VENV)/.serve ## Write deploy/grafana/cascade.json, which is made of the metrics' names
	@$(BIN)/python -m cascade_server.objectives.dashboard deploy/grafana/cascade.json

configuration: $(VENV)/.serve ## Write what settings are into docs/configuration.md and the pods' ConfigMap
	@$(BIN)/python -m cascade_server.configuration.shown docs/configuration.md \
	  $(KUBERNETES)/server/cascade.yaml

# $(1): table, $(2): the column to predict. What runs/ already has is not learnt again.
define learn
	$(BIN)/cascade fit examples/$(1)/train.parquet --out runs/$(1)
	$(BIN)/cascade distill runs/$(1)
	$(BIN)/cascade evaluate runs/$(1) --target $(2) \
	  --train examples/$(1)/train.parquet --test examples/$(1)/test.parquet
	$(BIN)/cascade release runs/$(1) --table $(1)
endef

models: $(VENV)/.dev ## Learn the bundled tables and release them as their next version
	$(call learn,adult,income)
	$(call learn,credit,default_payment_next_month)

# A table that is not there is said to be missing, and its figures stay as they are.
figures: $(VENV)/.dev ## Measure what docs/ says: fidelity of seven tables, the student's speed
	@for table in adult credit shoppers vehicle_claim_fraud german_credit ulb_creditcard_subset \
	  handbook_transactions; do for tier in teacher student; do \
	  $(BIN)/python -m benchmarks.keep fidelity-$$table-$$tier \
	    fidelity --table $$table --tier $$tier; done; done
	@for table in adult credit; do \
	  $(BIN)/python -m benchmarks.keep student-$$table student --table $$table; done
	@$(BIN)/python -m benchmarks.keep regularisation-credit \
	  regularisation --table credit --steps 3000
	@$(BIN)/python -m benchmarks.keep pool-credit pool --table credit
	@$(BIN)/python -m benchmarks.keep outside outside
	@$(BIN)/python -m benchmarks.keep relations relations
	@$(BIN)/python -m benchmarks.keep sizes sizes
	@for table in adult credit; do \
	  $(BIN)/python -m benchmarks.keep utility-$$table \
	    utility --table $$table --plot docs/figures/utility-$$table.svg; done
	@$(BIN)/python -m benchmarks.report

load-figures: $(VENV)/.dev ## Measure what docs/ says of load: latency, Triton, overload, processes, memory, reload
	@$(BIN)/python -m benchmarks.keep latency-credit latency --table credit
	@$(BIN)/python -m benchmarks.keep access-credit access --table credit
	@$(BIN)/python -m benchmarks.keep telemetry-credit telemetry --table credit
	@$(BIN)/python -m benchmarks.keep triton-credit triton --table credit
	@$(BIN)/python -m benchmarks.keep call-credit call --table credit
	@$(BIN)/python -m benchmarks.keep triton-inside-credit triton --table credit --inside
	@$(BIN)/python -m benchmarks.keep triton-inside-credit-called \
	  triton --table credit --inside --student called
	@$(BIN)/python -m benchmarks.keep triton-inside-credit-priorities \
	  triton --table credit --inside --priorities
	@$(BIN)/python -m benchmarks.keep overload-credit \
	  overload --table credit --plot docs/figures/overload.svg
	@$(BIN)/python -m benchmarks.keep processes-credit processes
	@$(BIN)/python -m benchmarks.keep memory-credit memory --table credit
	@$(BIN)/python -m benchmarks.keep in-flight-credit in_flight --table credit
	@$(BIN)/python -m benchmarks.keep attacks attacks --seconds 2
	@$(BIN)/python -m benchmarks.keep attacks-grpcio attacks --seconds 2 --transport grpcio
	@$(BIN)/python -m benchmarks.keep idle idle
	@$(BIN)/python -m benchmarks.keep reload-credit reload
	@$(BIN)/python -m benchmarks.keep jobs jobs
	@$(BIN)/python -m benchmarks.keep cost cost
	@$(BIN)/python -m benchmarks.sizing --curves cost/cascade_cost/curves.json > /dev/null
	@$(BIN)/python -m benchmarks.report

faults: $(VENV)/.dev ## Kill, stop, fill, damage and cut beneath a steady load: what callers see, and for how long
	@$(BIN)/python -m benchmarks.keep faults faults
	@$(BIN)/python -m benchmarks.report

# TARGET and SECONDS (of each target) may be given: make fuzz TARGET=yaml SECONDS=600
fuzz: $(VENV)/.dev ## Send every reader what nobody would send, a minute each; what is found is kept
	@$(BIN)/python -m tests.fuzz run $(if $(TARGET),--target $(TARGET)) $(if $(SECONDS),--seconds $(SECONDS))

sbom: $(VENV)/.dev ## Write the software bill of materials, after a change of constraints.txt
	@$(BIN)/python -m deploy.sbom deploy/sbom.cdx.json

audit: $(VENV)/.dev ## Compare the pins with published advisories; asks PyPI, so that it needs the network
	@$(PIP) pip-audit
	@$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

# SECONDS of load before the pictures may be given: make screenshots SECONDS=600
screenshots: $(VENV)/.dev ## Pictures of the operations page for docs/, of a server that is asked
	@$(BIN)/python -m benchmarks.screenshots $(if $(SECONDS),--seconds $(SECONDS))

# USERS, SECONDS and PROFILE (constant, steps, spikes, soak, replay) may be given, and TRACE of a replay:
#   make loadtest USERS=8 SECONDS=60 PROFILE=spikes
loadtest: $(VENV)/.dev ## Load the default server at half of its capacity, and judge it by loadtest/sla.yaml
	@$(BIN)/python -m cascade_loadtest $(if $(USERS),--users $(USERS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(PROFILE),--profile $(PROFILE)) $(if $(TRACE),--trace $(TRACE)) $(LOADTEST)

# An hour, or MINUTES of it; judged by loadtest/sla.yaml too, and the growth of each process's memory.
soak: $(VENV)/.dev ## Load the default server for an hour, and judge how its memory grows
	@$(BIN)/python -m cascade_loadtest --profile soak --report soak-report.html \
	  --seconds $$(( $(or $(MINUTES),60) * 60 )) $(if $(USERS),--users $(USERS)) $(LOADTEST)

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
