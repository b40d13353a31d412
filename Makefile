# Works with GNU make 3.81 (macOS) and later. `make` alone prints the targets.
#
#   PYTHON=python3.12   the interpreter for a new .venv (3.11, 3.12 or 3.13)
#   TORCH=cuda          the build of torch: auto (CUDA where an NVIDIA driver answers, else CPU), cpu or cuda
#   ARGS="seed=3"       more arguments for train.py, pytest or tensorboard
#   TITLES=path         the file of titles for `make train`
#   RUNS=logs           the runs for `make report`: a folder that holds some
#   STUDY=name          the study for `make sweep-report`, `promote`, `dashboard`: a name, a journal file, a database URL
#   RUN=dir RUN2=dir    one or two runs for `make playground`
PYTHON ?= python3
TORCH ?= auto
VENV_PYTHON := .venv/bin/python
# Tests must not depend on the network nor on what the shell happens to export.
PYTEST := env -u HYDRA_FULL_ERROR HF_HUB_OFFLINE=1 $(VENV_PYTHON) -m pytest
# What an editor writes into a notebook about the Python that ran it.
LANGUAGE := codemirror_mode file_extension mimetype nbconvert_exporter pygments_lexer version
MACHINE := $(addprefix metadata.language_info.,$(LANGUAGE))
STRIP := $(VENV_PYTHON) -m nbstripout --extra-keys "$(MACHINE)"
INSTALL := PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash scripts/install.sh

ifdef TITLES
QUICKSTART := experiment=quickstart 'data.path="$(TITLES)"' data.num_titles=null data.max_titles=20000
else
QUICKSTART := experiment=quickstart
endif

.DEFAULT_GOAL := help
.PHONY: help setup doctor lint format test test-slow test-export train demo-runs report sweep-report dashboard promote \
  playground smoke notebooks benchmark tensorboard clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -e 's/:.*## /:/' | awk -F: '{ printf "make %-12s %s\n", $$1, substr($$0, length($$1) + 2) }'

# Everything below that needs the environment depends on this file, so each target works alone on a fresh machine.
.venv/.installed: pyproject.toml constraints.txt
	@$(INSTALL)

setup:  ## install into .venv; NVIDIA GPUs are detected, `make setup TORCH=cuda` insists
	@$(INSTALL)

doctor: .venv/.installed  ## what this machine offers: GPUs, rates, kernels, disk, keys (ARGS="experiment=adamw_gpt")
	@$(VENV_PYTHON) scripts/doctor.py $(ARGS)

lint: .venv/.installed  ## check style, formatting, the order of imports, and that notebooks hold no outputs
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo
	$(STRIP) --verify notebooks/*.ipynb

format: .venv/.installed  ## format, mend what ruff can mend, take outputs out of notebooks
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .
	$(STRIP) notebooks/*.ipynb

test: .venv/.installed  ## the fast tests, without a network (ARGS="-k local")
	$(PYTEST) -n auto --dist loadgroup -m "not slow" $(ARGS)

test-slow: .venv/.installed  ## the slow tests: sweeps, kills, resumes
	$(PYTEST) -n auto --dist loadgroup -m slow $(ARGS)

test-export: .venv/.installed  ## exports, loaded by transformers, and MLflow's store (installs both)
	@$(VENV_PYTHON) -c 'import transformers, mlflow' 2>/dev/null || \
	  $(VENV_PYTHON) -m pip --disable-pip-version-check install --quiet -c constraints.txt -e '.[transformers,mlflow]'
	$(PYTEST) -n auto tests/export/test_export_transformers.py tests/export/test_hub.py $(ARGS)
	$(PYTEST) tests/training/test_mlflow_run.py

train: .venv/.installed  ## train the quickstart (TITLES=file.parquet for your own titles, ARGS="trainer.max_steps=100")
	$(VENV_PYTHON) train.py $(QUICKSTART) $(ARGS)

DEMO_RUNS = $(VENV_PYTHON) scripts/demo_runs.py $(if $(TITLES),logs/demo_titles 'data.path="$(TITLES)"')
demo-runs: .venv/.installed  ## six small runs in logs/demo, for the report and the notebooks (TITLES=file for real titles)
	$(DEMO_RUNS) $(ARGS)

report: .venv/.installed  ## one page about runs: table, curves, configurations, memory (RUNS=logs, ARGS=--compare)
	@$(VENV_PYTHON) scripts/report.py '$(or $(RUNS),logs)' $(ARGS)

sweep-report: .venv/.installed  ## a page about a study (STUDY=name TEST=titles.parquet, which scores its winner once)
	@$(VENV_PYTHON) scripts/sweep_report.py '$(STUDY)' $(if $(TEST),--test '$(TEST)') $(ARGS)

dashboard: .venv/.installed  ## Optuna's own page about a study, while it runs (STUDY=name ARGS="--port 8081")
	@test -n '$(findstring /,$(STUDY))' || test -f 'logs/sweeps/$(STUDY)/study.journal' || \
	  { echo "STUDY=$(STUDY): no such study; logs/sweeps has:" $$(ls logs/sweeps 2>/dev/null) >&2; exit 2; }
	@.venv/bin/optuna-dashboard '$(if $(findstring /,$(STUDY)),$(STUDY),logs/sweeps/$(STUDY)/study.journal)' $(ARGS)

promote: .venv/.installed  ## the best trial of a study as configs/experiment/<study>_best.yaml (STUDY=name)
	@$(VENV_PYTHON) scripts/promote.py '$(STUDY)' $(ARGS)

smoke: .venv/.installed  ## a few steps of every experiment
	$(VENV_PYTHON) scripts/smoke.py $(ARGS)

# Titles: FRONTPAGE_TITLES=file, else ../shared/data/hn_titles.parquet, else the grammar.
notebooks: .venv/.installed  ## run every cell of notebooks/ (FRONTPAGE_NOTEBOOK_SIZE=full for conclusions; ARGS="-k 02")
	$(DEMO_RUNS)
	env -u HYDRA_FULL_ERROR HF_HUB_OFFLINE=1 $(VENV_PYTHON) scripts/notebooks.py notebooks $(ARGS)

tensorboard: .venv/.installed  ## serve the runs in logs/ (written with logger=tensorboard)
	@$(VENV_PYTHON) -c 'import tensorboard' 2>/dev/null || \
	  $(VENV_PYTHON) -m pip --disable-pip-version-check install --quiet -c constraints.txt -e '.[tensorboard]'
	$(VENV_PYTHON) -m tensorboard.main --logdir logs $(ARGS)

playground: .venv/.installed  ## a page that continues titles as you type (RUN=<run> RUN2=<another> ARGS="--port 8001")
	@$(VENV_PYTHON) scripts/playground.py $(if $(RUN),'$(RUN)') $(if $(RUN2),'$(RUN2)') $(ARGS)

benchmark: .venv/.installed  ## time a training step beside a naive one (ARGS="--rounds 3")
	$(VENV_PYTHON) scripts/benchmark.py $(ARGS)

clean:  ## remove caches and build leftovers; logs/ and .venv/ stay
	rm -rf build dist src/*.egg-info .pytest_cache .ruff_cache
	find . \( -path ./.venv -o -path ./logs -o -path ./.git \) -prune -o \
	  -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
