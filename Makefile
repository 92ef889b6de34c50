# Needs Python 3.10 or later and nothing else: every target sets up what it needs in .venv. Only
# `make bench` needs a second interpreter too, see below.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
# For Microsoft Recommenders, which `make bench` compares with: Python 3.9, 3.10 or 3.11.
RECOMMENDERS_PYTHON ?= python3.10
# For `make test-matrix`, each end of what is supported.
PYTHONS ?= python3.10 python3.13
VENV := .venv
RECOMMENDERS_VENV := .venv-recommenders
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs
RESULTS := benchmarks/results
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
  $(if $(SLOW),,-m 'not slow') \
  $(if $(COVERAGE),--cov --cov-append --cov-fail-under=0 --cov-report=)
# Apart from the others: what TensorFlow has traced stays in memory, and all of it takes 20 GB.
MODEL_TESTS := tests/models tests/retrieval tests/serving

.DEFAULT_GOAL := help
.PHONY: demo tune-demo test campaign fuzz mutation test-matrix audit test-browser notebook lint format docs dist bench ablation recipes worlds month clean help

demo: $(INSTALLED) ## train, evaluate and explain on mind/synthetic, into runs/demo
	$(BIN)/tfrs-npa train --data mind/synthetic --preset small --epochs 1 --run runs/demo --overwrite
	$(BIN)/tfrs-npa evaluate --run runs/demo
	$(BIN)/tfrs-npa explain --run runs/demo --to runs/demo/report.html

tune-demo: $(INSTALLED) ## search hyper-parameters on mind/synthetic, into runs/tune-demo
	$(BIN)/tfrs-npa tune --data mind/synthetic --space tuning/spaces/demo.yaml --epochs 4 \
	  --max-trials 7 --run runs/tune-demo --overwrite
	$(BIN)/python tuning/retrain.py --run runs/tune-demo --epochs 1

# With COVERAGE=1, it ends with an error if fewer than 95 % of lines and branches are reached.
test: $(INSTALLED) ## run the tests; with SLOW=1 the slow ones too; with COVERAGE=1 measure which lines they reach
	$(if $(COVERAGE),$(BIN)/python -m coverage erase)
	$(PYTEST) $(MODEL_TESTS)
	$(PYTEST) tests $(MODEL_TESTS:%=--ignore=%)
	$(if $(COVERAGE),$(BIN)/python -m coverage report)

mutation: $(INSTALLED) ## whether the tests notice 300 small changes of the code: hours; resumes
	$(BIN)/python -m pip install -qq --disable-pip-version-check cosmic-ray
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python .ci/mutation.py

test-matrix: ## run some of the tests with the oldest and the newest versions supported, see PYTHONS
	@for python in $(PYTHONS); do PYTHON=$$python .ci/test-matrix || exit 1; done

audit: $(INSTALLED) ## look up known vulnerabilities of what is installed in .venv (by the network)
	$(BIN)/python -m pip install -qq --disable-pip-version-check pip-audit
	@mkdir -p build
	$(BIN)/python -m pip freeze --local --exclude-editable > build/installed.txt
	@# Strict: what cannot be looked up, as without a network, is no success.
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r build/installed.txt

campaign: $(INSTALLED) ## feed damaged and hostile files by the thousand; report in build/campaign.md
	TFRS_NPA_CAMPAIGN=build/campaign.md TFRS_NPA_CAMPAIGN_EXAMPLES=3000 \
	  $(BIN)/python -m pytest tests/campaign

# Its wheels are for Linux, and Python 3.11 to 3.13.
fuzz: $(INSTALLED) ## fuzz the readers of files for ten minutes, guided by coverage; inputs in build/fuzz
	$(BIN)/python -m pip install -qq --disable-pip-version-check atheris
	$(BIN)/python tests/campaign/fuzz/readers.py --minutes 10 --corpus build/fuzz/corpus

# Chromium is installed where this may be done: by root, on Debian and what derives from it.
test-browser: $(INSTALLED) ## look at the page of `tfrs-npa explain` in a headless Chromium
	@command -v chromedriver >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y chromium chromium-driver; } || \
	  { echo 'chromedriver is missing (Debian, Ubuntu: apt-get install chromium chromium-driver)' >&2; exit 1; }
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,browser]'
	$(BIN)/python -m pytest tests/explaining/browser

notebook: $(INSTALLED) ## run examples/npa_tutorial.ipynb and check the outputs it is kept with
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,notebook]'
	$(BIN)/python examples/run_notebook.py

lint: $(INSTALLED) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_INSTALLED) ## build the documentation site, into build/docs
	rm -rf build/docs
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going -q . build/docs
	$(BIN)/python docs/check_links.py build/docs

dist: $(INSTALLED) ## build the packages of a release, into dist, and check them
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

bench: $(INSTALLED) ## run the benchmarks and write their results into README.md and docs
	$(BIN)/python benchmarks/against_recommenders --json $(RESULTS)/against_recommenders.json \
	  --recommenders-venv $(RECOMMENDERS_VENV) --recommenders-python $(RECOMMENDERS_PYTHON)
	$(BIN)/python benchmarks/time_to_quality.py --json $(RESULTS)/time_to_quality.json \
	  --plot $(RESULTS)/time_to_quality.png \
	  --recommenders-venv $(RECOMMENDERS_VENV) --recommenders-python $(RECOMMENDERS_PYTHON)
	$(BIN)/python benchmarks/input_pipeline.py --json $(RESULTS)/input_pipeline.json
	$(BIN)/python benchmarks/reading.py --json $(RESULTS)/reading.json
	$(BIN)/python benchmarks/metrics.py --json $(RESULTS)/metrics.json
	$(BIN)/python benchmarks/optimizer_step.py --json $(RESULTS)/optimizer_step.json
	$(BIN)/python benchmarks/scaling.py --json $(RESULTS)/scaling.json \
	  --plot $(RESULTS)/evaluation_scaling.png
	$(BIN)/python benchmarks/large_evaluation.py --json $(RESULTS)/large_evaluation.json
	$(BIN)/python benchmarks/refresh_export.py --json $(RESULTS)/refresh_export.json
	$(BIN)/python benchmarks/trials.py --json $(RESULTS)/trials.json
	$(BIN)/python benchmarks/beam_scoring.py --json $(RESULTS)/beam_scoring.json
	$(BIN)/python benchmarks/top_k.py --json $(RESULTS)/top_k.json
	$(BIN)/python benchmarks/recommend.py --json $(RESULTS)/recommend.json
	$(BIN)/python benchmarks/quality.py --json $(RESULTS)/quality.json
	$(BIN)/python benchmarks/precision.py --json $(RESULTS)/precision.json
	$(BIN)/python benchmarks/user_buckets.py --json $(RESULTS)/user_buckets.json
	$(BIN)/python benchmarks/parameter_servers.py --json $(RESULTS)/parameter_servers.json
	$(BIN)/python benchmarks/strategies.py --json $(RESULTS)/strategies.json
	$(BIN)/python benchmarks/report.py

# These resume after an interruption. To train from scratch, remove the CSV, or runs/untuned-worlds.
ablation: $(INSTALLED) ## compare personalised attention with vanilla and none
	$(BIN)/python examples/ablation.py --output $(RESULTS)/ablation.csv \
	  --plot $(RESULTS)/ablation.png

recipes: $(INSTALLED) ## compare our recipe with the two published ones
	$(BIN)/python benchmarks/recipes.py --output $(RESULTS)/recipes.csv \
	  --plot $(RESULTS)/recipes.png

worlds: $(INSTALLED) ## compare NPA with no training, on sites that nothing was tuned on
	$(BIN)/python benchmarks/untuned_worlds.py --json $(RESULTS)/untuned_worlds.json
	$(BIN)/python benchmarks/report.py

month: $(INSTALLED) ## run a made-up news site for a month, with hourly articles and nightly training
	$(BIN)/python examples/month_of_a_site.py --folder runs/month --plot $(RESULTS)/month.png
	cp runs/month/days.csv $(RESULTS)/month.csv

clean: ## remove the environments, the runs of the demos, caches and build products
	rm -rf $(VENV) $(RECOMMENDERS_VENV) .venv-matrix .coverage .coverage.* runs/demo runs/tune-demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo '$(PYTHON) is missing or older than 3.10: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo 'Installing into $(VENV); TensorFlow alone is a download of 600 MB'
	@# The pip that comes with Python 3.10 searches for minutes where a current one needs seconds.
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install -qq --editable '.[test]'
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[docs]'
	@touch $@
