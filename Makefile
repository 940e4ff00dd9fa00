# "make" lists the targets. Go, make and git are all that must be there.

GO       ?= go
PACKAGES ?= ./...
SKIPS    ?= allow
FUZZTIME ?= 20s
ROUNDS   ?= 20
RUNS     ?= 5000
CONFIG   ?= scripts/dev.toml

SOURCES = find . \( -name node_modules -o -name .git \) -prune -o -name '*.go' -print

.DEFAULT_GOAL := help
.PHONY: help demo run build test lint fuzz crash truth screenshots rename clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Show everything once on this machine, in some seconds
	@bin/tidings demo

run: build ## Keep a server running on this machine (CONFIG=scripts/dev.toml)
	@echo "run: for a client, in another terminal:  bin/tidings client create --organisation demo"
	@bin/tidings serve --config $(CONFIG)

build: ## Build one static binary, bin/tidings
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/tidings ./cmd/tidings

test: ## Run all tests with the race detector; installs what they need (PACKAGES=./...)
	@scripts/need-cc.sh
	@scripts/need-programs.sh
	@scripts/install-postgresql.sh
	@scripts/install-chromium.sh
	@if [ -x internal/foreign/install.sh ]; then internal/foreign/install.sh; fi
	@$(GO) build -o bin/testrun ./scripts/testrun
	@CGO_ENABLED=1 bin/testrun -timeout 20m -skips $(SKIPS) -summary bin/test-summary.txt -- -race -count=1 -timeout 15m $(PACKAGES)

lint: ## Check form (gofmt) and go vet
	@unformatted=$$(gofmt -l $$($(SOURCES))); if [ -n "$$unformatted" ]; then echo "gofmt:" $$unformatted; exit 1; fi
	@$(GO) vet ./...

fuzz: ## Run each fuzz target for a short time (FUZZTIME=20s)
	@scripts/fuzz.sh $(FUZZTIME)

crash: ## Kill the server again and again under load and prove that nothing is lost (ROUNDS=20)
	@TIDINGS_CRASH_ROUNDS=$(ROUNDS) TIDINGS_CRASH_CUT=60 $(GO) test -count=1 -v -timeout 30m -run '^TestKill' ./internal/apptest

truth: ## Draw schedules of wallets, clock and restarts and prove that the events are true of each (RUNS=5000)
	@TIDINGS_TRUTH_RUNS=$(RUNS) $(GO) test -count=1 -v -timeout 30m -run '^TestEventsAreTrue' ./internal/apptest

screenshots: ## Take the pictures of the console in docs/images
	@scripts/install-chromium.sh
	@internal/foreign/install.sh
	@TIDINGS_SCREENSHOTS=$(CURDIR)/docs/images $(GO) test -count=1 ./internal/console

rename: ## Give the Go module another path (MODULE=example.com/you/tidings)
	@test -n "$(MODULE)" || { echo "usage: make rename MODULE=example.com/you/tidings" >&2; exit 2; }
	@$(GO) run ./scripts/rename "$(MODULE)"
	@$(GO) build ./...

clean: ## Delete what was built
	@rm -rf bin
