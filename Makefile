# Works with GNU make 3.81 (macOS) and later. `make` alone prints the targets.
#
#   PYTHON=python3.12   the interpreter for a new .venv (3.11, 3.12 or 3.13)
#   TORCH=cuda          the build of torch: auto (CUDA where an NVIDIA driver answers, else CPU), cpu or cuda
#   ARGS="seed=3"       more arguments for train.py, pytest or tensorboard
#   TITLES=path         the file of titles for `make train`
#   STUDY=name          the study for `make sweep-report` and `make promote`: a name, a journal file or a database URL
PYTHON ?= python3
TORCH ?= auto
VENV_PYTHON := .venv/bin/python
# Tests must not depend on the network nor on what the shell happens to export.
PYTEST := env -u HYDRA_FULL_ERROR HF_HUB_OFFLINE=1 $(VENV_PYTHON) -m pytest
INSTALL := PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash scripts/install.sh

ifdef TITLES
QUICKSTART := experiment=quickstart 'data.path="$(TITLES)"' data.num_titles=null data.max_titles=20000
else
QUICKSTART := experiment=quickstart
endif

.DEFAULT_GOAL := help
.PHONY: help setup doctor lint format test test-slow train sweep-report promote smoke benchmark tensorboard clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -e 's/:.*## /:/' | awk -F: '{ printf "make %-12s %s\n", $$1, substr($$0, length($$1) + 2) }'

# Everything below that needs the environment depends on this file, so each target works alone on a fresh machine.
.venv/.installed: pyproject.toml constraints.txt
	@$(INSTALL)

setup:  ## install into .venv; NVIDIA GPUs are detected, `make setup TORCH=cuda` insists
	@$(INSTALL)

doctor: .venv/.installed  ## what this machine offers: GPUs, rates, kernels, disk, keys (ARGS="experiment=adamw_gpt")
	@$(VENV_PYTHON) scripts/doctor.py $(ARGS)

lint: .venv/.installed  ## check style and formatting
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: .venv/.installed  ## format, and mend what ruff can mend
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

test: .venv/.installed  ## the fast tests, without a network (ARGS="-k local")
	$(PYTEST) -n auto -m "not slow" $(ARGS)

test-slow: .venv/.installed  ## the slow tests: sweeps, kills, resumes
	$(PYTEST) -n auto -m slow $(ARGS)

train: .venv/.installed  ## train the quickstart (TITLES=file.parquet for your own titles, ARGS="trainer.max_steps=100")
	$(VENV_PYTHON) train.py $(QUICKSTART) $(ARGS)

sweep-report: .venv/.installed  ## a page about a study (STUDY=name TEST=titles.parquet, which scores its winner once)
	@$(VENV_PYTHON) scripts/sweep_report.py '$(STUDY)' $(if $(TEST),--test '$(TEST)') $(ARGS)

promote: .venv/.installed  ## the best trial of a study as configs/experiment/<study>_best.yaml (STUDY=name)
	@$(VENV_PYTHON) scripts/promote.py '$(STUDY)' $(ARGS)

smoke: .venv/.installed  ## a few steps of every experiment
	$(VENV_PYTHON) scripts/smoke.py $(ARGS)

tensorboard: .venv/.installed  ## serve the runs in logs/ (written with logger=tensorboard)
	@$(VENV_PYTHON) -c 'import tensorboard' 2>/dev/null || \
	  $(VENV_PYTHON) -m pip --disable-pip-version-check install --quiet -c constraints.txt -e '.[tensorboard]'
	$(VENV_PYTHON) -m tensorboard.main --logdir logs $(ARGS)

benchmark: .venv/.installed  ## time a training step beside a naive one (ARGS="--rounds 3")
	$(VENV_PYTHON) scripts/benchmark.py $(ARGS)

clean:  ## remove caches and build leftovers; logs/ and .venv/ stay
	rm -rf build dist src/*.egg-info .pytest_cache .ruff_cache
	find . \( -path ./.venv -o -path ./logs -o -path ./.git \) -prune -o \
	  -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
