# Every install step of the project is here: `make demo` and `make test` need
# Python >= 3.11, make and a package registry, and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PHOTO  ?=

.DEFAULT_GOAL := help
.PHONY: help install demo picture test lint bench lock clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## build .venv from the locked, hashed dependency set

$(STAMP): locks/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Blindgate needs Python 3.11 or newer, this is {v.major}.{v.minor}: run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

demo: $(STAMP) ## a photo, encrypted, detected inside the enclave worker: PHOTO=path takes yours
	$(BIN)/blindgate dev demo $(if $(PHOTO),--photo "$(PHOTO)")

picture: demo ## renew the README's picture from the demo's
	$(BIN)/python -c "from PIL import Image; Image.open('out/demo/coffee.detections.png').convert('RGB').resize((900, 600)).save('docs/images/demo.jpg', quality=80, optimize=True)"

test: $(STAMP) ## every test, from units to real processes over real sockets
	$(BIN)/python -m pytest

bench: $(VENV)/.peers ## measure against a bare loop and other servers; writes docs/performance.md
	$(BIN)/python -m bench.load $(BENCH)

# The servers that `make bench` compares with, in an environment of their own.
$(VENV)/.peers: $(STAMP) locks/bench.txt
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/bench.txt
	@touch $@

lint: $(STAMP) ## ruff, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: ## renew locks/ (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --extra dev pyproject.toml -o locks/dev.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --extra gateway -c locks/dev.txt pyproject.toml -o locks/gateway.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header --extra enclave -c locks/dev.txt pyproject.toml -o locks/enclave.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-header bench/peers/requirements.in -o locks/bench.txt

clean: ## remove what make built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
