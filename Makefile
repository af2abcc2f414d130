# `make help` lists the targets. Everything runs in .venv, which the first target that needs it builds from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := dev
CLUSTER := .venv-cluster
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help train test test-cluster lint format bench-step bench-startup bench-sweep sweep-table bench-logger defaults methods benchmark benchmark-quick mutants readme clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

train: $(READY) ## the first run: ebm train objective=ssm dataset=moons
	$(BIN)/ebm train objective=ssm dataset=moons

test: $(READY) lint ## lint and all tests (four to eight minutes on two cores)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-cluster: ## submitit and Ray for real; installs the extras, apart from .venv (four minutes on two quiet cores, nine on busy ones, and once as much to install)
	$(MAKE) VENV=$(CLUSTER) EXTRAS=dev,ray,slurm $(CLUSTER)/.ready
	$(CLUSTER)/bin/python -m pytest tests/cluster

lint: $(READY) ## ruff: style, imports, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-step: $(READY) ## a training step against a hand-written loop, eager and compiled
	$(BIN)/python scripts/bench_step.py --compiled

bench-startup: $(READY) ## how long --help, --cfg job, runs and compare take
	$(BIN)/python scripts/bench_startup.py

bench-sweep: $(READY) ## 24 tiny jobs through the default launcher and through Hydra's basic one
	$(BIN)/python scripts/bench_sweep.py

bench-logger: $(READY) ## what logger=wandb and logger=tensorboard cost a run
	$(BIN)/python scripts/bench_logger.py

sweep-table: $(READY) ## the sweep that README shows: three objectives, four rates, four seeds (ten minutes on two quiet cores)
	$(BIN)/python scripts/sweep_table.py
	$(BIN)/python scripts/readme.py

defaults: $(READY) ## the search behind the defaults of conf/ (an hour on two quiet cores)
	$(BIN)/python scripts/tune_defaults.py

methods: $(READY) ## every objective on two datasets and three seeds, held to bounds (half an hour on two quiet cores)
	$(BIN)/python scripts/methods.py
	$(BIN)/python scripts/readme.py

benchmark: $(READY) ## objectives x datasets x seeds at equal cost, into results/ and README (three hours on two cores; goes on where it was)
	$(BIN)/python scripts/benchmark.py run
	$(BIN)/python scripts/benchmark_tables.py
	$(BIN)/python scripts/readme.py

benchmark-quick: $(READY) ## the same with two datasets and two seconds for each model into outputs/ (ten minutes)
	$(BIN)/python scripts/benchmark.py run --quick
	$(BIN)/python scripts/benchmark_tables.py --quick

mutants: $(READY) ## mistakes put in one by one: for each a test must fail (half an hour on two quiet cores)
	$(BIN)/python scripts/mutants.py

readme: $(READY) ## the generated tables of README.md
	$(BIN)/python scripts/readme.py

clean: ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) $(CLUSTER) .pytest_cache .ruff_cache .hypothesis dist build
