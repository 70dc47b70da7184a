# make demo   look around: sample pictures, a dry run, a list, a deletion; touches nothing of yours
# make quick  while you work: the tests that need no server, no other program and no model, in a minute
# make test   run the tests against real servers started for them
# make slow   before a release: what proves rarely changing things with much time, and the coming pict-rs
# make bench  some measurements, small; benchmarks/README.md and evaluation/README.md name them all
# make check  format, lint, types, import directions
# make container  build the container image and run it as docker-compose.yml says (root on Debian or Ubuntu; no docker)
# make release    make dist/: wheel, source, image, bill of materials, checksums; refuses a commit that is not ready
# Everything is installed into .venv; PYTHON=python3.12 picks another interpreter, VENV=path another place.

PYTHON ?= python3
VENV ?= .venv
# Several processes, each with servers of its own; a file's tests stay together, and share what they set up.
PYTEST_ARGS ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# Like pip on Debian, trust the system's certificates: a network may have a proxy with its own.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

# Byte-compiling while installing uses all cores; otherwise the first import of torch compiles for 10 s and more, and
# on every start where PYTHONDONTWRITEBYTECODE is set.
INSTALL := $(BIN)/python -m uv pip install --python $(BIN)/python --compile-bytecode
STAMPS := $(VENV)/stamps

.DEFAULT_GOAL := help
.PHONY: help demo quick test slow bench check container release format docs dev clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(STAMPS)/demo
	$(BIN)/lemmy-safety demo

quick: $(STAMPS)/packages
	$(BIN)/python -m pytest --hypothesis-profile=quick --durations=10 --durations-min=0.25 -m "not (external_service or server or process or model or slow or long)" $(PYTEST_ARGS)

test: $(STAMPS)/test
	bash scripts/build_pictrs.sh
	bash scripts/build_versitygw.sh
	$(BIN)/python -m pytest --durations=25 -m "not slow" $(PYTEST_ARGS)

# CI=true: a server that cannot be started fails its tests instead of skipping them.
slow: $(STAMPS)/test
	bash scripts/build_pictrs.sh
	bash scripts/build_pictrs.sh 0.6.0-rc.6
	bash scripts/build_versitygw.sh
	CI=true $(BIN)/python -m pytest --durations=25 -m slow $(PYTEST_ARGS)

bench: $(STAMPS)/test
	cd benchmarks && ../$(BIN)/python decode_isolation.py --files 100
	cd evaluation && ../$(BIN)/python media_table.py --small
	cd benchmarks && ../$(BIN)/python pipeline_efficiency.py --encoders stand-in --objects 60 --rounds 1
	cd benchmarks && ../$(BIN)/python ledger_scale.py --rows 100000
	cd benchmarks && ../$(BIN)/python listing.py --sizes 10000

check: $(STAMPS)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

container: $(STAMPS)/dev
	VENV="$(VENV)" bash scripts/check_container.sh

# docs/releasing.md; RELEASE_ARGS=--without-image where no image can be built.
release: $(STAMPS)/release
	$(BIN)/python scripts/release.py $(RELEASE_ARGS)

format: $(STAMPS)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# env_example, docs/options.md, docs/errors.md and the session in README.md are made from the code.
docs: $(STAMPS)/demo
	$(BIN)/python scripts/write_reference.py
	$(BIN)/python scripts/write_session.py

dev: $(STAMPS)/dev

clean:
	rm -rf "$(VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMPS)/venv:
	bash scripts/prepare_system.sh "$(PYTHON)" venv build
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	mkdir -p "$(STAMPS)"
	touch "$@"

# No torch and no model weights: what the demo needs comes inside the packages.
$(STAMPS)/demo: $(STAMPS)/venv pyproject.toml
	$(INSTALL) --quiet -e '.[nudenet]'
	touch "$@"

$(STAMPS)/release: $(STAMPS)/venv pyproject.toml
	$(INSTALL) --quiet -e '.[release]'
	touch "$@"

$(STAMPS)/packages: $(STAMPS)/venv pyproject.toml
	$(INSTALL) --quiet -e '.[all,test]'
	touch "$@" "$(STAMPS)/demo"

$(STAMPS)/test: $(STAMPS)/packages scripts/prepare_system.sh
	bash scripts/prepare_system.sh "$(PYTHON)" sshd postgres pgbouncer strace pictrs versitygw nginx
	touch "$@"

$(STAMPS)/dev: $(STAMPS)/test
	$(INSTALL) --quiet -e '.[all,dev]'
	touch "$@"
