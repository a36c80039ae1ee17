# The index of commands. `make demo` and `make test` work on a machine with Python 3.11+ and make alone.
PYTHON ?= python3
VENV   ?= .venv
DEMO   ?=           # --short for the quick form
OWN    ?=           # the same for own-task
BENCH  ?=           # options of benchmarks/serve.py
RESULTS ?= build/bench
PEERS  ?=           # options of benchmarks/peers.py
SECONDS ?= 300      # of fuzz
MINUTES ?= 30       # of make soak
SOAK   ?=           # options of make soak
FAULTS ?=           # options of make faults
TIMELESS = tests/lamo tests/training
BIN    := $(VENV)/bin
CORES   = $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')

.DEFAULT_GOAL := help
.PHONY: help setup demo own-task test check store-machine faults soak lint types wire bench bench-peers gpu-wheels fuzz audit sbom serve clean

help:                 ## List the commands
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(BIN)/.installed  ## Build .venv with every package at its pinned version

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[service,training,client,dev]'
	@# The extra [d4rl] without d4rl's own dependencies: old gym, mujoco_py, pybullet and dm_control serve its
	@# simulators, which are not used, and would take a gigabyte; its registry of data sets needs nothing.
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt d4rl
	@touch $@

demo: setup           ## Data, training, merge, service, evaluation over HTTP: ends with a score table and demo/report.html
	$(BIN)/python -m examples.demo $(DEMO)

own-task: setup       ## A machine's CSV log, a policy without a simulator, the machine driven by it; see examples/own_task
	$(BIN)/python -m examples.own_task.run $(OWN)

test: setup           ## Run the tests: side by side those in which no time is measured, then the others
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(TIMELESS)
	$(BIN)/python -m pytest $(TIMELESS:%=--ignore=%)

check: lint types test ## Everything a commit must pass

faults: setup         ## Kill, cut, pause, repeat: the fault matrix on this machine; fails if a step is lost, doubled or another
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.matrix $(FAULTS)

soak: setup           ## 200 episodes at a time for MINUTES, a kill every 20 s, the memory of every process watched
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(SOAK)

store-machine: setup  ## The store against a dictionary, forty times as long as in `make test`: ten minutes
	$(BIN)/python -m pytest -q tests/service/test_store_machine.py --hypothesis-profile=long --timeout 2400

lint: setup           ## Style, formatting and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup          ## mypy, strict
	$(BIN)/mypy

wire: setup           ## Write the examples of docs/wire again, from what the service answers
	$(BIN)/python -m pytest -q tests/service/test_wire.py --write-wire

bench: setup          ## The service under load and the engine alone, with plots, into build/bench; see docs/performance.md
	$(BIN)/python benchmarks/serve.py --out $(RESULTS)/serve-$(CORES)-cores.md $(BENCH)
	$(BIN)/python benchmarks/evaluation.py --out $(RESULTS)/evaluation-$(CORES)-cores.md
	$(BIN)/python benchmarks/stream.py --out $(RESULTS)/stream-$(CORES)-cores.md
	$(BIN)/python benchmarks/engine.py --out $(RESULTS)/engine-$(CORES)-cores.md

bench-peers: build/peers-venv/.installed  ## The service beside other serving frameworks, in an environment of its own
	PYTHONPATH=. build/peers-venv/bin/python benchmarks/peers.py $(PEERS)

build/peers-venv/.installed: benchmarks/peers/constraints.txt
	$(PYTHON) -m venv build/peers-venv
	build/peers-venv/bin/python -m pip install --quiet --upgrade pip
	build/peers-venv/bin/python -m pip install --quiet -r benchmarks/peers/constraints.txt
	@touch $@

gpu-wheels: setup     ## What benchmarks/gpu_service.py carries to a machine with torch and Python 3.12 alone
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
	  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  -c constraints.txt -d build/gpu-wheels -r benchmarks/gpu-wheels.txt

fuzz: setup           ## Make up request bodies for SECONDS, guided by the code they reach; Linux
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]'
	mkdir -p build/fuzz/bodies
	cd build/fuzz && PYTHONPATH=$(CURDIR) $(abspath $(BIN))/python $(CURDIR)/tests/fuzz/bodies.py bodies \
	  -max_total_time=$(strip $(SECONDS)) -max_len=4096 -dict=$(CURDIR)/tests/fuzz/words.dict -print_final_stats=1

audit: build/audit-venv/.installed  ## Ask PyPI for known vulnerabilities of every pinned package; needs its network service
	@build/audit-venv/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt \
	|| { echo "make audit: NOT clean: a package above is vulnerable, or could not be asked about. There is no audit" \
	  "without the advisory service; carry constraints.txt or build/sbom.json (make sbom) to where it can be asked."; \
	  exit 1; }

sbom: setup build/audit-venv/.installed  ## The software bill of materials (CycloneDX) of .venv into build/sbom.json
	build/audit-venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.json $(BIN)/python

build/audit-venv/.installed: .ci/audit-tools.txt
	$(PYTHON) -m venv build/audit-venv
	build/audit-venv/bin/python -m pip install --quiet --upgrade pip
	build/audit-venv/bin/python -m pip install --quiet -r .ci/audit-tools.txt
	@touch $@

serve: setup          ## Serve what the demo left in demo/policies
	$(BIN)/lamo-serve --policies demo/policies

clean:                ## Remove what the commands above made (not the policies)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
