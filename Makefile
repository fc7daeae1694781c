# Everything here works from a bare clone: the first target that needs it makes the environment.
PYTHON ?= python3
VENV ?= .venv
OUT ?= figures
PRESET ?= paper
BIN := $(VENV)/bin

# Two BLAS threads wait for each other on matrices this small: they take eight times the CPU time of one.
export OPENBLAS_NUM_THREADS ?= 1

# What every environment here installs beside the package.
EXTRAS := parquet,hdf5,html,experiments,diffrax
comma := ,

.PHONY: help figures smoke test test-long test-slow test-types test-formats test-oldest test-install verify bench \
  docs notebooks dist lint clean

help:
	@echo "make figures    run every experiment at paper settings into $(OUT)/ (about 10 minutes on 2 cores)"
	@echo "make smoke      the same, tiny, into runs/, two at a time (about a minute)"
	@echo "make test       the test suite            make test-long   its longer part: every experiment, end to end"
	@echo "make test-slow  all of it, and what takes minutes: processes killed, many seeds, 20,000 damaged files"
	@echo "make test-types  the test suite with the annotations of arrays checked: shapes, types"
	@echo "make test-formats  files that PyTorch and datasets write; installs both, gigabytes"
	@echo "make test-oldest  one or two test files of every part, with the oldest versions of the dependencies"
	@echo "make dist       wheel and sdist, built and checked, into dist/"
	@echo "make test-install  both of them used as a stranger would: outside of the clone, in an empty environment"
	@echo "make verify     every claim of the paper in its quick round (about 2 minutes)"
	@echo "make bench      time and memory of the sums over all pairs, into benchmarks/results/ (about 10 minutes)"
	@echo "make docs       the documentation as HTML, into docs/_build/html (a minute)"
	@echo "make notebooks  run the notebooks of the documentation again and keep their outputs (6 CPU minutes)"
	@echo "make lint       ruff, pyright, imports    make clean       remove $(VENV), dist/"

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "ctflow needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --group test --group browser --group lint
	@touch $@

figures: $(VENV)/.ready
	$(BIN)/python experiments/reproduce.py --preset $(PRESET) --out $(OUT) $(ARGS)

smoke: $(VENV)/.ready
	@$(MAKE) --no-print-directory figures PRESET=smoke OUT=runs ARGS="$(ARGS)"

test: $(VENV)/.ready
	$(BIN)/python -m pytest

# In an environment of its own: PyTorch and KeOps, which it compares with, are left out unless BENCH_GROUP=bench.
BENCH_GROUP ?= test
bench: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable . --group $(BENCH_GROUP)
	@for name in partition flow paper checkpoint; do \
	  $(BIN)/python benchmarks/bench_$$name.py --preset $(PRESET) --out benchmarks/results || exit 1; done

# The same tests in all, with the shapes and types of every annotation checked where that is possible.
test-types: $(VENV)/.ready
	$(BIN)/python -m pytest --jaxtyping-packages=ctflow,tests.typed.check -m 'not slow and not long and not wrong_types'
	$(BIN)/python -m pytest -m 'not slow and not long and wrong_types'

test-long: $(VENV)/.ready
	$(BIN)/python -m pytest -m 'long and not slow'

# PyTorch and datasets write some formats; they are large, so that `make test` leaves these tests out.
test-formats: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable '.[torch]' --group formats
	$(BIN)/python -m pytest tests/embeddings/readers tests/embeddings/test_array_likes.py

# The oldest versions that pyproject.toml allows: uv finds them, pip installs them. Newer packages that these depend on
# warn of what they will drop, which says nothing about ctflow.
OLDEST := $(VENV)-oldest
OLDEST_TESTS ?= tests/test_accelerators.py tests/test_kernels.py tests/test_gibbs.py tests/test_physical_time.py \
  tests/test_plotting.py tests/base tests/meanfield/test_fokker_planck.py tests/running/test_sweeps.py tests/storage \
  tests/stability/test_modes.py tests/claims/test_claims.py tests/corrections/test_corrections.py \
  tests/comparison/test_section.py tests/embeddings/readers tests/embeddings/test_ids.py \
  tests/embeddings/test_array_likes.py tests/embeddings/diagnosis/test_report.py tests/pages/test_skeleton.py \
  tests/cli tests/tracking tests/faults/test_bad_words.py tests/experiments/test_digits_clip.py
$(OLDEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(OLDEST)/bin/python -m pip install --quiet --group oldest
	$(OLDEST)/bin/uv pip compile --quiet --resolution lowest-direct --python $(OLDEST)/bin/python pyproject.toml \
	  $(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) --output-file $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/oldest.txt --editable '.[$(EXTRAS)]' --group test
	@touch $@

test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/python -m pytest -W ignore::DeprecationWarning $(OLDEST_TESTS)

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m 'slow or not slow'

verify: $(VENV)/.ready
	$(BIN)/ctflow verify

docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx -b html -W --keep-going --quiet docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html
	@echo "wrote docs/_build/html/index.html"

# Tools that build need nothing of ctflow, and so have an environment of their own.
DIST := $(VENV)-dist
$(DIST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(DIST)/bin/python -m pip install --quiet --group dist
	@touch $@

dist: $(DIST)/.ready
	rm -rf dist
	$(DIST)/bin/python -m build
	$(DIST)/bin/twine check --strict dist/*
	$(DIST)/bin/check-wheel-contents dist/*.whl

test-install: dist
	$(DIST)/bin/python tests/installed.py dist

notebooks: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python docs/run_notebooks.py $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python tests/snippets.py
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(OLDEST) $(DIST) dist
