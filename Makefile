# Everything that the targets need beside Go and a few packages of the distribution is built from pinned Go modules.
ifneq ($(words $(CURDIR)),1)
$(error make cannot work in a folder with a space in its path: $(CURDIR))
endif

# One flavour of everything, or Go's cache has nothing of what was compiled before. Go's own settings of whoever runs make
# would be another one.
export CGO_ENABLED := 0
export GOFLAGS     := -trimpath -buildvcs=false

NODES      ?= 2
FAKE_NODES ?= 0
BANDWIDTH  ?= 0
VERSION    ?= 0.1.0
ONLY       ?=
RUN        ?=
RACE       ?=
PLATFORM   ?= linux/amd64,linux/arm64
PLUGIN_PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
BIN        := $(CURDIR)/bin
comma      := ,
HELM       := $(BIN)/helm

.DEFAULT_GOAL := help
.PHONY: help build plugin image sbom scan generate check-generate screenshots lint test test-oldest bench cluster-up cluster-down demo demo-down FORCE

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the binaries into bin/.
	go build -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/...

plugin: ## Build the kubectl plugin for every platform into bin/plugin.
	@rm -rf $(BIN)/plugin
	for platform in $(PLUGIN_PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/} && \
		GOOS=$$os GOARCH=$$arch go build -ldflags "-s -w -X main.version=$(VERSION)" \
			-o $(BIN)/plugin/kubectl-prepull-$$os-$$arch$$(GOOS=$$os go env GOEXE) ./cmd/kubectl-prepull || exit 1; \
	done

image: ## Build the images into bin/images (OCI layouts), without a container engine, and their binaries into bin/binaries.
	go run ./deploy/image -target kube-prepull -version $(VERSION) -platform $(PLATFORM) -output $(BIN)/images/kube-prepull -binaries $(BIN)/binaries
	go run ./deploy/image -target kube-prepull-noop -platform $(PLATFORM) -output $(BIN)/images/kube-prepull-noop -binaries $(BIN)/binaries
	go run ./deploy/image -target kubectl-prepull -version $(VERSION) -platform $(PLATFORM) -output $(BIN)/images/kubectl-prepull -binaries $(BIN)/binaries

sbom: image $(BIN)/cyclonedx-gomod ## List the modules in the binaries of the images in bin/sbom (CycloneDX).
	@rm -rf $(BIN)/sbom && mkdir -p $(BIN)/sbom
	for binary in $(foreach platform,$(subst $(comma), ,$(PLATFORM)),kube-prepull-$(subst /,-,$(platform)) noop-$(subst /,-,$(platform)) kubectl-prepull-$(subst /,-,$(platform))); do \
		$(BIN)/cyclonedx-gomod bin -json -std -noserial -notimestamp -version v$(VERSION) -output $(BIN)/sbom/$$binary.cdx.json $(BIN)/binaries/$$binary || exit 1; \
	done

scan: ## Look for known vulnerabilities in what is linked (asks vuln.go.dev).
	cd deploy/release && go tool govulncheck -C ../.. ./...

generate: $(HELM) ## Generate deep copies, CRD, install.yaml, docs/reference, pictures and screenshots.
	go tool controller-gen object paths=./api/...
	go tool controller-gen crd paths=./api/... output:crd:dir=deploy/chart/files/crds
	{ cat deploy/namespace.yaml; $(HELM) template kube-prepull deploy/chart --namespace kube-prepull --no-hooks; } > deploy/install.yaml
	go run ./docs/generate

check-generate: generate
	@git diff --exit-code -- api deploy docs/reference docs/pictures docs/screenshots || { echo "generated files differ: run make generate, and commit"; exit 1; }

screenshots: ## Take the screenshots of docs/screenshots: the report, terminals of the tutorial, and the dashboard.
	go test ./cmd/kubectl-prepull/measure -run TestTheScreenshotOfTheReport -take
	go run ./docs/generate

lint: check-generate ## Check format, vet, staticcheck, and that generated files are up to date.
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	cd e2e && go vet ./...
	cd e2e/cluster && go vet ./...
	cd deploy/release && go vet ./...

test: $(BIN)/test-suite ## Run every test: unit, and on clusters (real nodes as root on Linux). ONLY=pin,learn RUN=TestName RACE=1.
	@$< -run '$(RUN)' -packages '$(ONLY)' $(if $(RACE),-race)

test-oldest: ONLY := learn,pin,gate
test-oldest: $(BIN)/test-suite ## Run tests on clusters with the oldest Kubernetes that is supported: those of learning, pinning and the gate, or ONLY.
	@$< -oldest -run '$(RUN)' -packages '$(ONLY)'

bench: ## Measure, in process, with 500 fake nodes and on real ones; table, and bin/bench.json. ONLY=manager, live-pod, new-node, lanes, long-list, change, spread, collect or fleet.
	@mkdir -p $(BIN)
	cd e2e && go run ./cmd/bench -out $(BIN)/bench.json -only "$(ONLY)"

cluster-up: $(BIN)/test-cluster ## Start a real Kubernetes: NODES=2 FAKE_NODES=0 BANDWIDTH=0 (bits/s of its registry).
	@$< up --dir $(BIN)/cluster/state --env $(BIN)/cluster/env --nodes $(NODES) --fake-nodes $(FAKE_NODES) --bandwidth $(BANDWIDTH)

cluster-down: $(BIN)/test-cluster ## Take it down; nothing is left.
	@$< down --dir $(BIN)/cluster/state --env $(BIN)/cluster/env

demo: $(BIN)/test-demo ## Show kube-prepull at work on a real cluster of three nodes.
	@$< up --dir $(BIN)/demo/state --env $(BIN)/demo/env

demo-down: $(BIN)/test-cluster ## Remove the demo.
	@$< down --dir $(BIN)/demo/state --env $(BIN)/demo/env

$(BIN)/test-%: FORCE
	@echo "Building $(notdir $@)"
	@cd e2e && go run ./cmd/build $@ ./cmd/$*

$(HELM): e2e/cluster/go.mod
	cd e2e/cluster && go build -ldflags "-s -w" -o $@ helm.sh/helm/v4/cmd/helm

# Its own hash is in what it writes: nothing of the machine may be in it.
$(BIN)/cyclonedx-gomod: deploy/release/go.mod
	cd deploy/release && go build -o $@ github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

FORCE:
