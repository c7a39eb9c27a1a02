# Everything that the targets need beside Go and a few packages of the distribution is built from pinned Go modules.
NODES      ?= 2
FAKE_NODES ?= 0
BANDWIDTH  ?= 0
VERSION    ?= 0.1.0
CLUSTER    := $(CURDIR)/bin/test-cluster
STATE      := $(CURDIR)/bin/cluster
DEMO       := $(CURDIR)/bin/demo

.DEFAULT_GOAL := help
.PHONY: help build image generate lint test bench cluster-up cluster-down demo demo-down

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the binaries into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/...

test: ## Run every test: unit, real API server, and (as root on Linux) real nodes.
	go test -race ./...
	cd e2e/cluster && go test ./...
	cd e2e && go test $$(go list ./... | tail -n +2)
	@[ "$$(uname -s)" = Linux ] && [ "$$(id -u)" = 0 ] || echo "SKIPPED: tests on real nodes: they need root on Linux"
	cd e2e && go test -v -count=1 -timeout 60m .

cluster-up: $(STATE) ## Start a real Kubernetes: NODES=2 FAKE_NODES=0 BANDWIDTH=0 (bits/s of its registry).
	@cd e2e && go build -o $(CLUSTER) ./cmd/cluster
	@$(CLUSTER) up --dir $(STATE)/state --env $(STATE)/env --nodes $(NODES) --fake-nodes $(FAKE_NODES) --bandwidth $(BANDWIDTH)

cluster-down: ## Take it down; nothing is left.
	@cd e2e && go build -o $(CLUSTER) ./cmd/cluster
	@$(CLUSTER) down --dir $(STATE)/state --env $(STATE)/env

demo: $(DEMO) ## Show kube-prepull at work on a real cluster of three nodes.
	@cd e2e && go build -o $(DEMO)/demo ./cmd/demo
	@$(DEMO)/demo up --dir $(DEMO)/state --env $(DEMO)/env

demo-down: ## Remove the demo.
	@cd e2e && go build -o $(CLUSTER) ./cmd/cluster
	@$(CLUSTER) down --dir $(DEMO)/state --env $(DEMO)/env

$(STATE) $(DEMO):
	@mkdir -p $@
