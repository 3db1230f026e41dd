# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Paths are relative, so that a folder whose name has a space serves as well.
VENV := .venv
PY := $(VENV)/bin/python
LOCKS := requirements/uv.txt requirements/base.txt requirements/dev.txt pyproject.toml
INSTALLED := $(VENV)/.installed
ASSETS := app/web/static/vendor/.installed
# Tried in this order; say PYTHONS=/a/path/to/python to choose another.
PYTHONS ?= python3.11 python3 python3.12 python3.13 python3.14 /usr/local/bin/python3 /usr/bin/python3
# Workers of the test run; the demo's servers and the tests' are apart, so both may run at once.
TEST_PROCESSES ?= 2
TEST_ENV := WARDLINK_ENV=test LOCAL_DIR=.local-test
PYTEST = $(TEST_ENV) $(PY) -m pytest -n $(TEST_PROCESSES)

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

$(INSTALLED): $(LOCKS)
	@exec 9>.install.lock; \
	if command -v flock >/dev/null; then flock 9; fi; \
	export PIP_REQUIRE_VIRTUALENV=1; \
	serves() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	private() { "$(PY)" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix or sys.version_info < (3, 11))' 2>/dev/null; }; \
	stamp="$$(cat $(LOCKS) | cksum)"; \
	if [ "$$(cat "$(INSTALLED)" 2>/dev/null || true)" != "$$stamp" ]; then \
	  for python in $(PYTHONS); do \
	    if private; then break; fi; \
	    if serves "$$python"; then echo "making $(VENV)"; "$$python" -m venv --clear "$(VENV)" || true; fi; \
	  done; \
	  if ! private; then \
	    echo "Wardlink needs Python 3.11 or later with its venv module: install it, then run make again." >&2; exit 1; \
	  fi; \
	  if "$(PY)" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt \
	    && "$(PY)" -m uv pip sync --quiet --python "$(PY)" --require-hashes requirements/uv.txt requirements/base.txt requirements/dev.txt; then \
	    "$(PY)" -m uv pip install --quiet --python "$(PY)" --no-deps --no-build-isolation -e .; \
	  else \
	    echo "uv is not to be had here: installing with pip, which takes minutes"; \
	    "$(PY)" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt -r requirements/dev.txt; \
	    "$(PY)" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	  fi; \
	  printf '%s\n' "$$stamp" > "$(INSTALLED)"; \
	else \
	  touch "$(INSTALLED)"; \
	fi

# What pages are made of, from npm by locked hashes; copied once, changed on the way.
$(ASSETS): package.json package-lock.json app/web/assets.py | $(INSTALLED)
	@if ! command -v npm >/dev/null; then \
	  echo "Wardlink needs Node.js with npm, for the style sheet of its pages: install it, then run make again." >&2; exit 1; \
	fi; \
	exec 9>.install.lock; \
	if command -v flock >/dev/null; then flock 9; fi; \
	npm ci --silent; \
	"$(PY)" -m app.web.assets; \
	touch "$@"

READY := $(INSTALLED) $(ASSETS)

.PHONY: install
install: $(READY) ## install everything into .venv and node_modules, by locked hashes

.PHONY: demo
demo: $(READY) ## an alert to 10,000 people, then the site until Ctrl-C (EXIT=1: end after the table)
	@"$(PY)" -m app.cli demo $(if $(filter 1,$(EXIT)),--exit)

.PHONY: test
test: $(READY) ## the tests, without the process kills
	@$(PYTEST) -m "not chaos and not slow and not browser"

.PHONY: test-chaos
test-chaos: $(READY) ## the tests that kill, stop and restart processes, one after the other
	@$(TEST_ENV) "$(PY)" -m pytest -m chaos

.PHONY: chaos
chaos: $(READY) ## every fault in mid-send, on e-mail and texts, with real processes (ONLY=, CHANNEL=, JOBS=, RESUME=1)
	@if ! ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime; } >/dev/null 2>&1 || true; \
	fi; \
	$(TEST_ENV) "$(PY)" -m tests.chaos.run $(if $(ONLY),--only "$(ONLY)") $(if $(CHANNEL),--channel "$(CHANNEL)") \
	  $(if $(JOBS),--jobs "$(JOBS)") $(if $(filter 1,$(RESUME)),--resume)

.PHONY: test-slow
test-slow: $(READY) ## the tests that take long and kill nothing (SHORT=1: without the longest)
	@$(PYTEST) -m "slow and not chaos and not browser$(if $(filter 1,$(SHORT)), and not long)"

.PHONY: browser
browser: ## find the browser that the tests look through, or install it (as root on Debian and Ubuntu)
	@if [ -n "$${CHROMIUM:-}" ]; then command -v "$$CHROMIUM" || { echo "CHROMIUM names no program: $$CHROMIUM" >&2; exit 1; }; exit 0; fi; \
	for name in chromium chromium-browser google-chrome; do if command -v "$$name"; then exit 0; fi; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null \
	    && command -v chromium; \
	else \
	  echo "No Chromium: apt-get install chromium as root, or set CHROMIUM to the path of one." >&2; exit 1; \
	fi

.PHONY: test-browser
test-browser: $(READY) ## every page and journey in a real browser, skipped by name where there is none (SHORT=1: without the longest)
	@$(PYTEST) -m "browser$(if $(filter 1,$(SHORT)), and not long)"

.PHONY: pictures
pictures: $(READY) ## take the pictures of docs/pictures anew (needs the browser)
	@$(TEST_ENV) "$(PY)" -m pytest -q -p no:randomly -p no:cacheprovider tests/browser/pictures.py

.PHONY: test-all
test-all: test test-slow test-browser test-chaos ## every test

.PHONY: nightly
nightly: $(READY) ## every test, 50,000 fuzzed requests, and every fault in mid-send
	@$(MAKE) test-all
	@FUZZ=50000 $(PYTEST) -q tests/architecture/test_fuzz.py
	@$(MAKE) chaos

.PHONY: lint
lint: $(INSTALLED) ## style, types and import contracts
	@"$(PY)" -m ruff check .
	@"$(PY)" -m ruff format --check .
	@"$(PY)" -m mypy
	@"$(PY)" -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

.PHONY: audit
audit: $(INSTALLED) ## published holes in what we depend on (needs the network; Error 1: known, Error 3: could not ask)
	@"$(PY)" -m tests.advisories

.PHONY: format
format: $(INSTALLED) ## put the code in order
	@"$(PY)" -m ruff check --fix .
	@"$(PY)" -m ruff format .

.PHONY: bench-fanout
bench-fanout: $(READY) ## recipients a second (N=, CHANNEL=email|sms, LATENCY_MS=)
	@"$(PY)" -m bench.fanout $(if $(N),--n "$(N)") $(if $(CHANNEL),--channel "$(CHANNEL)") $(if $(LATENCY_MS),--latency-ms "$(LATENCY_MS)")

.PHONY: bench-latency
bench-latency: $(READY) ## how soon an urgent alert is out while a newsletter to a million runs (N=, ROUNDS=)
	@"$(PY)" -m bench.latency $(if $(N),--n "$(N)") $(if $(ROUNDS),--rounds "$(ROUNDS)")

.PHONY: bench-sandbox
bench-sandbox: $(INSTALLED) ## what the sandbox itself can take
	@"$(PY)" -m bench.sandbox

.PHONY: bench-web
bench-web: $(READY) ## the ward page against the same layout without a query
	@"$(PY)" -m bench.web

.PHONY: bench-receipts
bench-receipts: $(READY) ## what providers report, accepted and merged (PROVIDER=sendgrid|twilio)
	@"$(PY)" -m bench.receipts $(if $(PROVIDER),--provider "$(PROVIDER)")

.PHONY: bench-audit
bench-audit: $(READY) ## acts put on the record while another stays open, and a million entries verified (N=)
	@"$(PY)" -m bench.audit $(if $(N),--n "$(N)")

.PHONY: bench-register
bench-register: $(READY) ## a register of a million cameras, searched through both steps of its gate (N=)
	@"$(PY)" -m bench.register $(if $(N),--n "$(N)")

.PHONY: lock
lock: $(INSTALLED) ## resolve the requirements anew (needs the network)
	@"$(PY)" -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 requirements/base.in -o requirements/base.txt
	@"$(PY)" -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 requirements/dev.in -o requirements/dev.txt
	@"$(PY)" -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 requirements/uv.in -o requirements/uv.txt

.PHONY: stop
stop: ## stop the embedded servers of the demo and of the tests
	@for folder in .local .local-test .local-bench; do \
	  if [ -x "$(PY)" ] && [ -d "$$folder" ]; then "$(PY)" -m app.embedded.stop "$$folder"; fi; \
	done

.PHONY: clean
clean: stop ## remove what was installed and made, the demo's and the tests' data too
	@if [ -L .local-test ]; then rm -rf "$$(readlink .local-test)"; fi
	@rm -rf "$(VENV)" .install.lock .local .local-test .local-bench .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
