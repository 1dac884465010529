# The commands of the README. `make help` lists them.
PYTHON ?= python3
PROFILE ?= quick
ONLY ?=
SET ?=
COURSE ?= book/_build/course
STORE ?=
VENV := .venv
RUN := $(VENV)/bin/python
INFOCAP := $(RUN) -m infocap
UV := $(VENV)/bin/uv

.DEFAULT_GOAL := help
.PHONY: help setup book test check-pages screenshots pdf bench bench-peers doctor student assignment release lock lint clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 22
	@echo "  PROFILE=smoke|quick|evidence|full   ONLY='chapter ...'   SET='key=value ...'   STORE=folder   PYTHON=python3.12"

setup: $(VENV)/ready  ## install everything into .venv

$(VENV)/ready: lib/requirements.lock lib/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(UV) pip install --quiet --compile-bytecode --python $(RUN) --require-hashes -r lib/requirements.lock
	$(UV) pip install --quiet --python $(RUN) --no-deps --no-build-isolation -e lib
	touch $@

book: setup  ## run every chapter (PROFILE=quick) and render book/_build/html
	$(INFOCAP) run --profile $(PROFILE) $(foreach name,$(ONLY),--only $(name)) $(foreach pair,$(SET),--set $(pair)) $(if $(STORE),--store $(STORE))

test: setup  ## the whole test suite, in two processes; a file stays in one, since its tests share what they set up
	$(RUN) -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

check-pages: setup  ## look for faults in the rendered pages, in a headless browser (REQUIRE_BROWSER=1: no skips)
	$(RUN) -m pytest tests/pages -n 2 --dist loadfile --no-loadscope-reorder $(if $(REQUIRE_BROWSER),--require-browser)

screenshots: setup  ## pictures of every page, desktop and phone, light and dark, in book/_build/screenshots
	$(RUN) -m pytest tests/pages/screenshots.py

pdf: book  ## the whole book as one file, book/_build/pdf/infocap.pdf, printed by a headless browser
	$(RUN) -m pytest tests/pages/print_pdf.py tests/pages/test_pdf.py --require-browser

bench: setup  ## measure speed against references in the same run; stores the table that the page Performance shows
	$(RUN) tests/bench/bench.py

bench-peers: setup  ## compare with other packages, in .venv-peers; stores the tables that part 2 and Performance show
	$(PYTHON) -m venv .venv-peers
	$(UV) pip install --quiet --python .venv-peers/bin/python --require-hashes --no-deps -r tests/bench/peers/requirements.lock
	$(UV) pip install --quiet --python .venv-peers/bin/python --no-deps --no-build-isolation -e lib
	.venv-peers/bin/python -W ignore tests/bench/peers/compare.py
	.venv-peers/bin/python -W ignore tests/bench/peers/speed.py

doctor:  ## say what is missing or mismatched, and the fix
	@if [ -x $(RUN) ]; then cd lib && ../$(RUN) -m infocap doctor; \
	else $(PYTHON) lib/infocap/study/doctor.py; fi

student: setup  ## copies of the exercises without solutions, in book/_build/student and as a zip file
	$(RUN) -m infocap.study.teaching student --profile $(PROFILE)

assignment: setup  ## a course folder that nbgrader releases and grades (COURSE=book/_build/course)
	$(RUN) -m infocap.study.teaching assignment --profile $(PROFILE) --course "$(COURSE)"

release: setup  ## after `make book` and `make pdf`: archives, manifest and checksums, in dist
	$(RUN) .ci/release.py pack

lock: setup  ## resolve lib/requirements.lock anew from the ranges in lib/pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras --no-header \
	  --upgrade lib/pyproject.toml --output-file lib/requirements.lock

lint: setup  ## style and import order
	$(RUN) -m ruff check --config lib/pyproject.toml lib tests .ci
	$(RUN) -m ruff format --check --config lib/pyproject.toml lib tests .ci

clean:  ## remove .venv and everything that was built; finished cells and data stay in the user's cache
	rm -rf $(VENV) .venv-peers book/_build dist lib/build lib/*.egg-info
