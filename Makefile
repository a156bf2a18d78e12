# Two commands for newcomers: `make serve` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Half as many workers again as there are cores: tests wait for servers and clients a third of their time.
JOBS ?= $(shell $(PYTHON) -c 'import os; n = os.cpu_count() or 1; print(n + n // 2)')
# Tests keep compiled modules, whatever the environment says (images of Python say not to): compiling them
# for each process again takes a tenth of the suite's CPU.
test test-newest soak: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help serve release package-test musl-test test test-newest check format soak fuzz bench bench-quick bench-memory bench-buckets bench-doors bench-start bench-attack docs docs-site screenshots clean

help:
	@echo "make serve        install into .venv and start an SFTP server on ./var (Ctrl-C stops it)"
	@echo "make test         install test tools into .venv and run the whole test suite"
	@echo "make test-newest  the fast part of the suite on the newest Python of this machine"
	@echo "make check        lint, types, room contracts, module sizes"
	@echo "make bench-quick  measure against OpenSSH, under two minutes;  make bench: everything"
	@echo "make release      build and check a release of this commit into dist/;  make package-test: install and run it"
	@echo "make musl-test    the image for Alpine on an imitated base; needs a Python for musl, see docs/adr/0086-musl.md"
	@echo "make fuzz         wrong input for every parser and for SSH dialogues, FUZZ_SECONDS=60 each"
	@echo "make docs         regenerate the reference pages from the code;  make screenshots: the pictures of the web admin"
	@echo "make docs-site    all pages as a site in dist/site"

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Tidegate needs Python >= 3.11; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV), once; this takes a minute or two."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python3 cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "Installing the test tools into $(VENV), once."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,check]'
	@touch $@

.venv-release/.done: pyproject.toml constraints.txt
	@test -x .venv-release/bin/python || $(PYTHON) -m venv .venv-release
	@.venv-release/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  $$($(PYTHON) tools/requirements_of.py release)
	@touch $@

.venv-docs/.done: pyproject.toml constraints.txt
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  $$($(PYTHON) tools/requirements_of.py docs)
	@touch $@

serve: $(VENV)/.base
	@mkdir -p var
	@$(BIN)/tidegate serve --quickstart --config-dir var

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) -m "not soak"

# The fast rings on the newest Python of the machine, in an environment of its own; says so where there is none.
test-newest: $(VENV)/.base
	@python=$$($(BIN)/python tools/newest_python.py); \
	if [ -z "$$python" ]; then echo "No Python here is newer than that of $(VENV): nothing more to try."; else \
	  $(MAKE) --no-print-directory PYTHON="$$python" VENV=.venv-newest .venv-newest/.test && \
	  .venv-newest/bin/python --version && \
	  .venv-newest/bin/python -m pytest -n $(JOBS) -m "not soak" tests/wire tests/unit tests/dialogue; \
	fi

# Of the commit that is checked out, in environments of their own; a tree with changes is refused.
release: .venv-release/.done
	.venv-release/bin/python tools/release.py

package-test: $(VENV)/.test release
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m package tests/package

# The image for Alpine on an imitated base; as root, with buildah, an index to install from, and a
# Python for musl, made by hand, in TIDEGATE_MUSL: docs/adr/0086-musl.md.
musl-test: $(VENV)/.test
	$(BIN)/python -m pytest -m musl tests/musl

soak: $(VENV)/.test
	$(BIN)/python -m pytest -m soak

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/module_sizes.py

# Each fuzzer for FUZZ_SECONDS, from a seed of its own that it prints; ends at the first failure.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.test
	@for file in $$(ls fuzz/*.py | grep -v runner.py); do \
	  echo "$$file"; $(BIN)/python $$file --seconds $(FUZZ_SECONDS) || exit 1; \
	done

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test
	-$(BIN)/python -m bench.fetch
	$(BIN)/python -m bench

bench-memory: $(VENV)/.test
	$(BIN)/python -m bench.memory --openssh

bench-buckets: $(VENV)/.test
	-$(BIN)/python -m bench.fetch
	$(BIN)/python -m bench.buckets

bench-doors: $(VENV)/.test
	-$(BIN)/python -m bench.fetch
	$(BIN)/python -m bench.doors

bench-start: $(VENV)/.test
	$(BIN)/python -m bench.start

bench-attack: $(VENV)/.test
	$(BIN)/python -m bench.attack

bench-quick: $(VENV)/.test
	$(BIN)/python -m bench --quick

docs: $(VENV)/.base
	$(BIN)/python tools/generate_reference.py
	$(BIN)/python tools/api_files.py

# With Chromium; the pictures are part of the docs.
screenshots: $(VENV)/.test
	$(BIN)/python -m tools.screenshots

# Works from a disk and without a network; a link that leads nowhere fails it.
docs-site: .venv-docs/.done
	.venv-docs/bin/python tools/docs_site.py dist/site

clean:
	rm -rf $(VENV) .venv-newest .venv-release .venv-docs build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
