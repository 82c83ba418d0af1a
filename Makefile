# make demo   set up; a call from ringing to its Task in Salesforce (a stand-in); calls played against a sample directory
# make test   set up (system packages too when run as root on Debian), lint, type-check, run every test
# make bench  measure; prints the tables of the README
# make check  lint and types only
# make screenshots  make the pictures of the docs anew
# make lock   pin the newest versions of everything (needs uv)
# make install PREFIX=/opt/ostiary   a virtual environment to run the service from

PYTHON ?= python3
PREFIX ?= /opt/ostiary
VENV   := .venv
BIN    := $(VENV)/bin
CODE   := agi_server storage tests

.PHONY: demo test check bench screenshots lock install clean
.DELETE_ON_ERROR:

demo: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.demo

test: $(VENV)/dev.stamp
	tests/system-packages
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/dev.stamp
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

screenshots: $(VENV)/dev.stamp
	OSTIARY_SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -q tests/web/browser/test_pictures.py

bench: $(VENV)/dev.stamp
	$(BIN)/python -m tests.bench

$(VENV)/run.stamp: requirements.lock
	.ci/setup $(PYTHON) $(VENV) requirements.lock
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml
	.ci/setup $(PYTHON) $(VENV) requirements-dev.lock editable
	touch $(VENV)/run.stamp $@

install:
	.ci/setup $(PYTHON) $(PREFIX) requirements.lock project
	@echo "installed: $(PREFIX)/bin/ostiary"

lock:
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
