# `make demo` and `make test` set themselves up: see demo/environment.py
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: demo test setup bench lint clean

# IMAGE=… VIDEO=… MODE=animate|replace, and what else demo/run.py --help names
demo: setup
	@$(RUN) -m demo.run

# ARGS go to pytest: make test ARGS="-k pose"
test: setup
	$(RUN) -m pytest $(ARGS)

setup:
	@$(PYTHON) -m demo.environment --venv $(VENV)

bench: setup
	@for script in $$(grep -l __main__ benchmarks/*.py); do $(RUN) "$$script" || exit 1; done

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean:
	rm -rf .cache demo/out build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
