PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
PURE   := realtime/model/*,realtime/engine/*,realtime/hub/*
# Node of the machine, else the one in .venv
export PATH := $(PATH):$(CURDIR)/$(BIN)
# Bytecode is kept even where the machine says otherwise: rewriting the tests' asserts takes each worker 7 s
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test page check format lint types contracts web shots picture speed soak coverage fix bench prove lock sbom chromium

$(READY): requirements.lock pyproject.toml hatch_build.py package.json package-lock.json
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: $(READY) static/vendor/manifest.json  ## the server with the embedded paper exchange
	$(BIN)/realtime serve
# The chart library: the editable install brings it; this brings it again where it was deleted or unreachable.
static/vendor/manifest.json: | $(READY)
	-@$(BIN)/python hatch_build.py
test: $(READY)        ## the whole fast suite; in `check` its lines are counted, which takes half as long again
	rm -f .coverage .coverage.*
	$(SUITE) -n $(WORKERS) -m "$(FAST) and not browser" $(ARGS)
page: $(READY) static/vendor/manifest.json  ## the page in Chromium
	$(SUITE) -n 2 -m "$(FAST) and browser" $(ARGS)
SUITE   = $(BIN)/python $(COUNT) -m pytest --dist loadfile --no-loadscope-reorder
FAST    = not slow and not bench_full
WORKERS = 3
check coverage: COUNT = -m coverage run
check coverage: WORKERS = 2
check: chromium format lint types contracts web test page coverage
format: $(READY)
	$(BIN)/ruff format --check .
lint: $(READY)
	$(BIN)/ruff check .
types: $(READY)
	$(BIN)/mypy
contracts: $(READY)
	$(BIN)/lint-imports
coverage: test page
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='$(PURE)'
node_modules/.ready: $(READY) package.json package-lock.json
	npm ci --silent --ignore-scripts --no-audit --no-fund
	touch $@
web: node_modules/.ready
	npm run --silent types && npm run --silent lint && npm run --silent test
shots: node_modules/.ready static/vendor/manifest.json  ## pictures of the page into tests/screenshots, to look at
	npm run --silent shots
picture: $(READY) static/vendor/manifest.json  ## the one of the README
	$(BIN)/python -m tests.web.shots --picture
speed: $(READY) static/vendor/manifest.json  ## what the page costs in Chromium: load, rest, 5,000 and 20,000 updates/s
	$(BIN)/python -m tests.web.speed
soak: $(READY) static/vendor/manifest.json  ## whether its memory stays flat over MINUTES
	$(BIN)/python -m tests.web.speed --soak $(or $(MINUTES),30)
chromium:             ## the browser of the page's tests, where Debian's packages can bring it; the shell is its quicker half
	@command -v chromium >/dev/null && command -v chromium-headless-shell >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive && apt-get update -qq \
	  && apt-get install -y -qq --no-install-recommends chromium \
	  && { apt-get install -y -qq --no-install-recommends chromium-headless-shell || true; }; } \
	  || echo "no chromium: browser tests will be skipped"
fix: $(READY)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
bench: $(READY)       ## the figures of the README, each against its comparators
	$(BIN)/pytest -m bench_full -s tests/bench
prove: $(READY)       ## the promises, as a table
	$(BIN)/pytest -q -m "promise or slow" tests
sbom: $(READY) static/vendor/manifest.json  ## what a release is made of, into dist/sbom.cdx.json (CycloneDX)
	$(BIN)/python -m tests.sbom
lock:                 ## maintainers, with uv
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --group dev -o requirements.lock pyproject.toml
