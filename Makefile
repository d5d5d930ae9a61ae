# All that a fresh clone needs is Python 3.11 or newer; everything is installed into .venv.

VENV ?= .venv
PEERS_VENV ?= .venv-peers
DOCS_VENV ?= .venv-docs
# Read once, when $(VENV) is made. For another Python: make test VENV=.venv312 PYTHON=python3.12
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
    if $$python -c '' >/dev/null 2>&1; then echo $$python; break; fi; done)
WORKERS ?= 2
PIP := -m pip install --quiet --disable-pip-version-check --use-pep517

export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help install quickstart table-digits table-methods table-cifar10 test test-all lint format docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.runtime  ## make .venv and install requirements.txt

quickstart: $(VENV)/.runtime  ## train on images of digits, with and without AutoLabel
	$(VENV)/bin/python -m experiments.quickstart

table-digits: export JAX_PLATFORMS ?= cpu
table-digits: $(VENV)/.sweep  ## every augmentation with every label rule on digits, in runs/digits
	$(VENV)/bin/python -m experiments.sweep --config=configs/digits.py --workdir=runs/digits \
	    --corruptions --attacks=fgsm,pgd20 --processes=$(WORKERS)
	$(VENV)/bin/python -m experiments.tables runs/digits

# The teacher of 'distill' is a run of the first sweep.
METHODS := --config=configs/digits_methods.py --workdir=runs/digits_methods --corruptions \
    --processes=$(WORKERS)
TEACHER := runs/digits_methods/augment.name=none,buckets.num=1,labels.rule=one_hot,seed=0
table-methods: export JAX_PLATFORMS ?= cpu
table-methods: $(VENV)/.sweep  ## augmentations and rules of other papers on digits, about 50 minutes
	$(VENV)/bin/python -m experiments.sweep $(METHODS)
	test -e runs/digits_teacher || $(VENV)/bin/python -m autolabel_jax.commands.main export \
	    --run=$(TEACHER) --out=runs/digits_teacher
	$(VENV)/bin/python -m experiments.sweep $(METHODS) --sweep=distill
	$(VENV)/bin/python -m experiments.tables runs/digits_methods

# The data set is in TFDS_DATA_DIR, or where TFDS looks for it.
SMALL := --config=configs/cifar10_table_small.py --workdir=runs/cifar10_table_small \
    --corruptions --examples=1000 --processes=$(WORKERS)
table-cifar10: export JAX_PLATFORMS ?= cpu
table-cifar10: $(VENV)/.sweep  ## the same on CIFAR-10 with a small CNN, about 1 1/2 hours
	$(VENV)/bin/python -m experiments.sweep $(SMALL)
	$(VENV)/bin/python -m experiments.sweep $(SMALL) \
	    --sweep=rules --axes=augment.name=adversarial --attacks=fgsm,pgd20
	$(VENV)/bin/python -m experiments.tables runs/cifar10_table_small

# Two processes would each take most of a GPU's memory: JAX_PLATFORMS=cuda WORKERS=1 asks for it.
# XLA compiles fast rather than well here, which halves the time; test-all compiles as runs do.
test: export JAX_PLATFORMS ?= cpu
test: export XLA_FLAGS ?= --xla_backend_optimization_level=0 \
    --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false \
    --xla_cpu_parallel_codegen_split_count=1
test: $(VENV)/.dev  ## run the tests but for those marked slow, on WORKERS=2 processes
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -q -m "not slow"

test-all: export JAX_PLATFORMS ?= cpu
test-all: $(PEERS_VENV)/.peers  ## run all tests, also benchmarks, and comparisons with peers
	$(PEERS_VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -q

lint: $(VENV)/.dev  ## check style, formatting and the types of the library
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check autolabel_jax --python $(VENV)

format: $(VENV)/.dev  ## sort imports, fix what can be fixed, format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS_VENV)/.docs  ## build the documentation in build/docs; a warning or a broken link is an error
	$(DOCS_VENV)/bin/python -m mkdocs build --strict

clean:  ## remove caches and build products; runs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name .venv\* -prune -o -name runs -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A half-made environment would look like a whole one, so it is removed.
$(VENV)/bin/python $(PEERS_VENV)/bin/python $(DOCS_VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "PYTHON=$(PYTHON): got $$($(PYTHON) --version 2>&1)," \
	    "Python 3.11 or newer is needed." >&2; exit 1; }
	@echo "Making $(@:/bin/python=) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); exit 1; }

# Stamps: packages are installed only when a list of requirements has changed.
$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "Installing requirements.txt into $(VENV): about 1.2 GB, a minute or two ..."
	@$(VENV)/bin/python $(PIP) -r requirements.txt
	@touch $@

$(VENV)/.sweep: requirements-sweep.txt $(VENV)/.runtime
	@echo "Installing requirements-sweep.txt into $(VENV) ..."
	@$(VENV)/bin/python $(PIP) -r requirements-sweep.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements-serve.txt $(VENV)/.runtime
	@echo "Installing requirements-dev.txt into $(VENV) ..."
	@$(VENV)/bin/python $(PIP) -r requirements-dev.txt
	@touch $@

PEERS := requirements-dev.txt requirements-sweep.txt requirements-peers.txt
$(PEERS_VENV)/.peers: requirements.txt requirements-serve.txt $(PEERS) | $(PEERS_VENV)/bin/python
	@echo "Installing $(PEERS) into $(PEERS_VENV): several GB, minutes ..."
	@$(PEERS_VENV)/bin/python $(PIP) -r requirements-dev.txt -r requirements-sweep.txt
	@$(PEERS_VENV)/bin/python $(PIP) -r requirements-peers.txt
	@touch $@

$(DOCS_VENV)/.docs: requirements-docs.txt | $(DOCS_VENV)/bin/python
	@echo "Installing requirements-docs.txt into $(DOCS_VENV) ..."
	@$(DOCS_VENV)/bin/python $(PIP) -r requirements-docs.txt
	@touch $@
