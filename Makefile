# Everything starts here: `make help` lists the targets.
#
# Needed: Python 3.11 or newer, make, pip. All else goes into .venv, which is made again when pyproject.toml changes.
# pip may warn about find-links locations that do not exist on this machine; that is harmless.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.peers

# What the user may add: make demo DEMO_ARGS="...", make test TEST_ARGS="-k layers -x"
DEMO_ARGS ?=
TEST_ARGS ?=
PART ?=
SERVER    ?= http://127.0.0.1:8333/test
S3_TESTS := tests/unit/dataset tests/unit/history tests/unit/engines tests/engines tests/faults tests/interop \
	tests/properties

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format bench bench-full bench-docs bench-flush bench-bucket conformance interop soak soak-vectors faults s3 fuzz e2e-superset docs clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## make .venv and install the package into it, editable, with all extras

demo: $(STAMP)  ## fetch real data, build a Space, show a tour of SQL
	@$(RUN) -c 'from dreamdb_arrow.cli import program; program()' demo $(DEMO_ARGS)

test: $(STAMP)  ## run all tests but the long soaks
	@$(RUN) -m pytest -n 2 -m "not slow" $(TEST_ARGS)

check: $(STAMP)  ## lint, formatting, types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: $(STAMP)  ## let ruff write what `make check` asks for
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

bench: $(PEERS)  ## beside Parquet, Lance, DuckDB and Delta in one run, as tables with ratios; under five minutes
	@$(RUN) -m benchmarks

bench-full: $(PEERS)  ## the same in full size, for an hour and 40 GB of disk; then docs/performance.md from it
	@$(RUN) -m benchmarks --size full
	@$(RUN) -m benchmarks.document --write

bench-docs: $(STAMP)  ## write docs/performance.md again from benchmarks/results/full.jsonl
	@$(RUN) -m benchmarks.document --write

bench-flush: $(STAMP)  ## flush a million rows and then a thousand, field by field, with the limits beside
	@$(RUN) benchmarks/flush.py

bench-bucket: $(STAMP)  ## scans and clones of a bucket at SERVER beside obstore alone; docs/backends/seaweedfs.md starts one
	@$(RUN) -m benchmarks.bucket_scan $(SERVER)
	@$(RUN) -m benchmarks.transfer --server $(SERVER)

conformance: $(STAMP)  ## run the vectors against both adapters, Python and JavaScript, then change bytes of them
	@$(RUN) conformance/runner.py --strict --adapter "$(RUN) conformance/adapters/python/adapter.py"
	@$(RUN) conformance/runner.py --strict --adapter "$$($(RUN) conformance/adapters/javascript/prepare.py)" \
		--group $$(cat conformance/adapters/javascript/groups.txt)
	@$(RUN) -m pytest -n 2 -m "not slow" tests/conformance $(TEST_ARGS)

interop: $(STAMP)  ## take turns with the reference SDK: 2,000 random steps over 200 Spaces, and all tests beside it
	@$(RUN) -m pytest -s -m "slow or not slow" --interop-steps 2000 --interop-spaces 200 tests/interop $(TEST_ARGS)

soak: $(STAMP)  ## kills, power cuts, faults, rot, fuzz and more, in full, for an hour; PART=kills for one; then docs/reliability.md
	@$(RUN) -m benchmarks.soak $(PART); code=$$?; $(RUN) -m benchmarks.reliability --write; exit $$code

soak-vectors: $(STAMP)  ## every change of every byte of the vectors, and fifty times as many examples; takes hours
	@$(RUN) -m pytest -n 2 -m slow tests/conformance $(TEST_ARGS)
	@$(RUN) -m pytest --hypothesis-profile=deep -m "slow or not slow" tests/properties $(TEST_ARGS)

s3: $(STAMP)  ## all suites of datasets, SQL, history, faults and the reference with their Spaces in SeaweedFS; half an hour
	@$(RUN) -m pytest -n 2 -m "not slow" -rs --store s3 $(S3_TESTS) $(TEST_ARGS)
	@$(RUN) -m pytest -n 2 -m "slow or not slow" tests/stores $(TEST_ARGS)

fuzz: $(STAMP)  ## 200,000 damaged inputs for every decoder, in processes of limited memory; a quarter of an hour
	@$(RUN) -m dreamdb_arrow.testing.fuzz --rounds 200000 conformance/spaces/reference-0.0.16

faults: $(STAMP)  ## all tests with failing stores and killed processes, the long ones too
	@$(RUN) -m pytest -n 2 -m "slow or not slow" tests/faults $(TEST_ARGS)

e2e-superset: $(STAMP)  ## Superset draws a chart of a Space, from nothing; docs/how-to/superset.png from it (800 MB, minutes)
	@examples/superset/run.sh $(RUN) .cache/superset docs/how-to/superset.png

docs: $(STAMP)  ## write docs/coverage.md, docs/cli.md and docs/sql.md again, then run every block of the documents
	@$(RUN) docs/generate_cli.py --write
	@$(RUN) docs/generate_sql.py --write
	@$(RUN) conformance/coverage.py --write
	@$(RUN) -m pytest tests/test_docs.py tests/test_repository.py $(TEST_ARGS)

clean:  ## remove .venv, caches and what builds left behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@$(new_venv)
	@echo "installing into $(VENV); the first time this takes a few minutes"
	@$(RUN) -m pip install -qq --disable-pip-version-check -e '.[all,test]'
	@touch $@

$(PEERS): $(STAMP)
	@echo "installing what the benchmarks measure beside us"
	@$(RUN) -m pip install -qq --disable-pip-version-check -e '.[bench]'
	@touch $@

# Debian keeps ensurepip in a package of its own. Root fetches it; others lend the pip that they have.
define new_venv
set -e; \
if [ -x $(RUN) ] && $(RUN) -m pip --version >/dev/null 2>&1; then exit 0; fi; \
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	apt-get update -qq && apt-get install -y -qq python3-venv; fi; \
if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv --clear $(VENV); \
elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	$(PYTHON) -m venv --clear --without-pip $(VENV); \
	$(PYTHON) -m pip --python $(RUN) install -qq --disable-pip-version-check pip; \
else echo "$(PYTHON) can make no virtual environment: install python3-venv, then try again" >&2; exit 1; fi
endef
