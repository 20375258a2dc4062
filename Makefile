# One environment in .venv, made once and again when the lock changes.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

PAGES := $(patsubst notebooks/%.ipynb,build/notebooks/%.html,$(wildcard notebooks/*.ipynb))
# Pictures in place of widgets, which a page without a kernel cannot show; no progress bars (TQDM_DELAY below).
RENDER := $(BIN)/jupyter nbconvert --execute --to html --log-level ERROR --ExecutePreprocessor.store_widget_state=False \
    --NbConvertBase.display_data_priority='["text/html", "image/png", "text/latex", "text/markdown", "text/plain"]'

.PHONY: help app test test-all lint bench calibrate notebooks demo figures screenshots lock clean FORCE

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

app: $(STAMP)  ## Open the dashboard on the embedded demo, on 127.0.0.1
	$(BIN)/python app

test: $(STAMP) lint  ## Lint, type check, and the tests of a few minutes
	$(BIN)/python -m pytest -m "not slow"

test-all: $(STAMP) lint  ## All tests, the long ones too
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check analysis app benchmarks

bench: $(STAMP)  ## Everything beside its alternatives in one run, as one table (BENCH=--quick: few rounds)
	$(BIN)/python benchmarks/all.py $(BENCH)

calibrate: $(STAMP)  ## Do the intervals and verdicts keep their promises? 2,000 simulated sets a condition, stored
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibrate.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibrate_channels.py

notebooks: $(STAMP)  ## Run all notebooks; pages with their results in build/notebooks
	@$(MAKE) --no-print-directory --keep-going $(PAGES)

build/notebooks/%.html: notebooks/%.ipynb FORCE
	@mkdir -p $(@D)/.new
	@TQDM_DELAY=9999 $(RENDER) --output-dir $(@D)/.new $< >$(@D)/.new/$*.log 2>&1 || \
	    { echo "$<: $$(sed 's/\x1b\[[0-9;]*m//g;/^$$/d' $(@D)/.new/$*.log | tail -n 1); see $(@D)/.new/$*.log"; exit 1; }
	@mv $(@D)/.new/$*.html $@
	@echo "$@"

demo: $(STAMP)  ## Train the two shapes runs of the embedded demo again
	rm -rf runs/demo-shapes-scale runs/demo-shapes-dual
	$(BIN)/attention-analysis train shapes-scale --data shapes --out runs/demo-shapes-scale
	$(BIN)/attention-analysis train shapes-dual --data shapes --out runs/demo-shapes-dual
	$(BIN)/attention-analysis publish runs/demo-shapes-scale data/demo/shapes-scale
	$(BIN)/attention-analysis publish runs/demo-shapes-dual data/demo/shapes-dual --series

figures: $(STAMP)  ## The figures of the README, on a photograph that scikit-learn brings
	$(BIN)/attention-analysis look data/demo/camvid-scale $$($(BIN)/python -c "from importlib.resources import files; print(files('sklearn.datasets') / 'images' / 'china.jpg')") --out docs/figures

screenshots: $(STAMP)  ## Screenshots of the dashboard in docs/screenshots (needs Chromium)
	$(BIN)/python app/screenshots.py

lock: $(STAMP)  ## Write requirements.lock from pyproject.toml: names and versions only
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock

clean:  ## Remove the environment and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
