# Every command starts from a fresh clone: what it needs is installed first, once.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
CODE := app tasks workers tool_catalog queues.py
CHECKED := $(CODE) tests $(wildcard benchmarks)
# Without pip's cache: nothing is left outside of the project.
PIP_INSTALL := $(BIN)/pip --no-cache-dir --disable-pip-version-check --require-virtualenv install --quiet
SYSTEM_PACKAGES := tcpdump nmap iputils-ping iproute2 libcap2-bin openssh-server sudo rabbitmq-server postgresql-15 redis-server redis-tools prometheus tshark bind9 bind9-dnsutils awscli \
	debootstrap systemd-container docker.io docker-compose iptables mariadb-server zsh fish

# The first Python that really runs and is 3.11 or 3.12 (Redis's wheel stops there).
PYTHON := $(shell for python in python3.11 python3.12 python3 /usr/bin/python3; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && { command -v "$$python"; break; }; done)

# Tests side by side: half as many again as there are cores, because most of them wait; who has
# nothing left to do takes over from the others.
PYTEST = $(BIN)/python -m pytest -q -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 3 / 2))) --dist worksteal

# When this began, for the times that the demo prints.
BEGAN := $(shell date +%s.%N)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: install
install: $(VENV)/.runtime ## Make .venv with everything opsfarm runs on

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "opsfarm needs Python 3.11 or 3.12 with venv" \
		"(Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

# setuptools first: the one package that is built (python-nmap) is built with it, not in isolation.
$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) ..."
	@$(PIP_INSTALL) --require-hashes --no-deps -r requirements/build.txt
	@$(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation --use-pep517 \
		-r requirements/runtime.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q $(CODE)
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@echo "installing the test tools ..."
	@$(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation -r requirements/test.txt
	@touch $@

.PHONY: demo
demo: install ## Start the farm, run the sample plan in all four domains (ONCE=1: take it down again)
	@exec env --block-signal=INT $(BIN)/python -m app.admin.demo --began $(BEGAN) $(if $(ONCE),--once)

.PHONY: test
test: test-system lint types docs-check ## Install what the tests need; lint, format, types, arrows, docs, all tests
	$(PYTEST) $(ARGS)

.PHONY: test-system
test-system: ## Install what the tests use of Debian, make the lab's root trees (root only; else say so)
	@.ci/system-packages $(SYSTEM_PACKAGES)
	@"$(PYTHON)" tests/lab/root_tree.py

.PHONY: lint
lint: $(VENV)/.test ## Lint, check the format, check which module may import which
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports --no-cache

.PHONY: types
types: $(VENV)/.test ## Check the types
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.test ## Bring the code into shape
	$(BIN)/ruff check --fix-only $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

.PHONY: docs
docs: install ## Write docs/tools/ from the catalogue
	$(BIN)/python -m tool_catalog.reference

.PHONY: docs-check
docs-check: install
	@rm -rf $(VENV)/docs-check
	@$(BIN)/python -m tool_catalog.reference $(VENV)/docs-check >$(VENV)/docs-check.log
	@diff -r docs/tools $(VENV)/docs-check || { \
		echo "docs/tools/ differs from the catalogue: run 'make docs' and commit" >&2; exit 1; }

.PHONY: sure
sure: lint types docs-check ## All that `make test` checks, without installing system packages
	$(PYTEST) $(ARGS)

.PHONY: lab
lab: $(VENV)/.test ## Start hosts and servers to try things on, until Ctrl-C (PARTS="hosts=4 mariadb"): docs/lab.md
	@exec $(BIN)/python -m tests.lab.main $(PARTS)

.PHONY: faults
faults: $(VENV)/.test ## Hurt a farm in every way we know, on both brokers; ends in a table (root, 15 minutes)
	@exec $(BIN)/python -m tests.faults $(ARGS)

.PHONY: bench
bench: $(VENV)/.test ## Compare with Celery's own chain; prints ratios
	$(BIN)/python -m benchmarks.plan_cost

.PHONY: lock
lock: $(VENV)/.test ## Resolve requirements/*.in again into hash-locked *.txt
	@cd requirements && for name in build runtime test; do \
		UV_CACHE_DIR=../$(VENV)/uv ../$(BIN)/uv pip compile --quiet --no-config --universal \
		--python-version 3.11 --generate-hashes --strip-extras --no-header \
		$(LOCK_ARGS) -o $$name.txt $$name.in || exit 1; done

.PHONY: clean
clean: ## Take the farm down and remove everything that was made here
	@if test -x $(BIN)/opsfarm; then $(BIN)/opsfarm down --if-up; fi
	rm -rf $(VENV) .opsfarm *.egg-info .mypy_cache .ruff_cache .hypothesis .coverage
	find $(CODE) tests -name __pycache__ -prune -exec rm -rf {} +
