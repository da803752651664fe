# Every target sets itself up: virtual environment, pinned packages, Redis (the machine's own when it is 7.0 or
# later, else the Valkey that comes with the packages). Only Python 3.11 or newer has to be there; test-operator, e2e, cluster,
# cluster-demo, chaos and bench NAME=wake, operator, status, trace or soak also need Linux and Go 1.26, and build
# Kubernetes and KEDA once (a quarter of an hour). CLUSTER=node and bench NAME=node need root on Linux.

.DEFAULT_GOAL := help
.PHONY: help venv lint format test test-operator e2e demo cluster cluster-demo bench chaos fuzz protos package image release record reference docs lock clean
SHELL := /bin/bash
PY := .venv/bin/python
# Two processes: the tests wait for servers more than they compute.
TEST_ARGS ?= -n 2

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv:
	@hack/venv.sh

lint: venv ## style, types, layering
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

format: venv ## fix what can be fixed automatically
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

test: venv ## all tests; TEST_ARGS="tests/scaler -k wake" for some
	$(PY) -m pytest $(TEST_ARGS)

test-operator: venv ## the operator and its runtime on a real API server, without KEDA; builds etcd and Kubernetes once
	$(PY) -m pytest $(TEST_ARGS) --timeout=600 tests/cluster/operator

e2e: venv ## end-to-end tests on a real Kubernetes and KEDA; CLUSTER=local|node|kind|current, E2E_ARGS="tests/cluster/test_mtls.py"
	@$(PY) -m hack.cluster.e2e $(if $(CLUSTER),--cluster "$(CLUSTER)") $(if $(KEDA_MANIFEST),--keda-manifest "$(KEDA_MANIFEST)") -- $(E2E_ARGS)

cluster: venv ## a real Kubernetes and KEDA with the scaler to play with, until Ctrl-C
	@$(PY) -m hack.cluster

cluster-demo: venv ## the demo on that cluster, at real speed; TRACE=file.csv FROM=0 MINUTES=5 REPLICAS=10
	@$(PY) -m hack.cluster.demo $(if $(TRACE),--trace "$(TRACE)") $(if $(FROM),--from-minute "$(FROM)") $(if $(MINUTES),--minutes "$(MINUTES)") $(if $(REPLICAS),--max-replicas "$(REPLICAS)")

demo: venv ## a real trace through queue, scaler and workers; TRACE=file.csv SPEED=60 REPLICAS=10
	@$(PY) -m hack.demo $(if $(TRACE),--trace "$(TRACE)") $(if $(SPEED),--speed "$(SPEED)") $(if $(REPLICAS),--max-replicas "$(REPLICAS)")

chaos: venv ## break one thing after the other under load, on the process cluster; ONLY=part-of-a-name
	@$(PY) -m hack.chaos $(if $(ONLY),--only "$(ONLY)")

fuzz: venv ## fuzz every input with malformed data; EXAMPLES=1000 per kind
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) $(PY) -m pytest -q -n 2 --timeout=3600 tests/fuzz

bench: venv ## a benchmark against its bars; NAME=scaler, wake, node, operator, ledger, record, cap, cancel, status, trace, sizing, scale or soak, QUICK=1 for a short one
	@$(PY) -m hack.bench $(if $(NAME),"$(NAME)")

protos: venv ## generate the gRPC code from protos/
	$(PY) -m hack.protos

package: venv ## build the wheel, install it as the image does, start each program from there
	@$(PY) -m hack.package

COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock: venv ## pin the newest allowed packages into the lock files
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) --constraint requirements.lock --extra image pyproject.toml -o requirements-image.lock
	$(COMPILE) --constraint requirements.lock --group build -o requirements-build.lock
	$(COMPILE) --constraint requirements.lock --group publish -o requirements-publish.lock
	$(COMPILE) --constraint requirements.lock --extra cli pyproject.toml -o requirements-plugin.lock

release: venv ## a new version everywhere, the changelog dated, a commit and a tag; VERSION=0.2.0
	@$(PY) -m hack.release "$(VERSION)"

image: ## build the image with docker, podman or buildah; IMAGE=ark:dev BASE=mirror.example/python:3.13-slim IMAGE_ARGS="--network host"
	@hack/image/build.sh "$(or $(IMAGE),ark:dev)" "$(BASE)"

record: venv ## record a program in a terminal for the documentation; NAME=demo|top
	@$(PY) -m hack.record $(NAME)

reference: venv ## write the generated pages of the documentation from their sources
	@$(PY) -m hack.reference

docs: venv ## build the documentation into .site; a broken link, a missing or an orphaned page fails
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict
	@echo "docs: open .site/index.html, or run .venv/bin/mkdocs serve"

clean: ## remove what the targets have made
	rm -rf .venv .site .bench .demo .e2e .mypy_cache .ruff_cache .import_linter_cache .hypothesis
