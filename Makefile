# `make help` lists what there is. Each part of `make test` says its name, then how long it took.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL: # parts that share two cores only blur whose time it was
.DEFAULT_GOAL := help

MODULES := $(shell find . -name go.mod -not -path '*/node_modules/*' -exec dirname {} \; | sort)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# $(call part,name,commands) runs commands under a title and says how long they took, also when they fail.
part = @echo "=== $(1)"; trap 'echo "=== $(1): $$SECONDS s"' EXIT; $(2)
# $(call each,command) runs command in every module; one failure does not keep the others from running.
each = failed=0; for module in $(MODULES); do (cd "$$module" && $(1)) || failed=1; done; exit $$failed

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

.PHONY: test
test: provision gofmt vet staticcheck hermetic simulation race ## install what is missing, then every check and every test of every module

.PHONY: provision
provision: ## install what the end-to-end tests need (Debian; root or sudo)
	$(call part,provision,internal/e2e/provision.sh)

.PHONY: gofmt
gofmt: ## no file that gofmt would change
	$(call part,gofmt,unformatted=$$(find . -name '*.go' -not -path '*/node_modules/*' -exec gofmt -l {} +); \
		if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi)

.PHONY: vet
vet: vet-linux vet-darwin vet-windows ## go vet every module for three operating systems

.PHONY: vet-linux vet-darwin vet-windows
# The end-to-end tests and the benchmarks run on Linux; what people compile is vetted for all three.
vet-darwin vet-windows: MODULES := $(filter-out ./internal/%,$(MODULES))
vet-linux vet-darwin vet-windows: vet-%:
	$(call part,go vet for $*,$(call each,GOOS=$* go vet ./...))

.PHONY: staticcheck
staticcheck: ## staticcheck every module
	$(call part,staticcheck,$(call each,go run $(STATICCHECK) ./...))

.PHONY: hermetic
hermetic: ## the root module's tests without -race, which counts allocations differently
	$(call part,go test,go test -shuffle=on -timeout=2m ./...)

# $(call race-in,modules,n) runs the tests of modules with -race, n packages at a time.
race-in = (failed=0; for module in $(1); do \
	(cd "$$module" && echo "--- module $$module" && go test -race -p=$(2) -shuffle=on -timeout=10m ./...) || failed=1; done; exit $$failed)
E2E := ./internal/e2e

# Most packages wait more than they work, so several run at a time. What the end-to-end tests start needs the machine for itself.
.PHONY: race
race: ## every test of every module with -race, the end-to-end tests included
	$(call part,go test -race,export EVERGRANT_E2E=1; failed=0; \
		$(call race-in,$(filter-out . $(E2E),$(MODULES)),1) & $(call race-in,.,3) || failed=1; wait $$! || failed=1; \
		$(call race-in,$(E2E),3) || failed=1; exit $$failed)

# A history runs on one processor, so that it is the same every time: one process runs two thirds of the seeds, the other the
# small worlds and the rest.
SIMULATION := go test ./internal/simulation -count=1 -timeout=20m
.PHONY: simulation
simulation: ## ten thousand histories of the renewal engine, and every order of a small world's steps
	$(call part,simulation,failed=0; \
		$(SIMULATION) -run '^TestSeeds$$' -from 1 -seeds 6500 & \
		$(SIMULATION) -run '^TestInterleavings$$' -interleavings -v || failed=1; \
		$(SIMULATION) -run '^TestSeeds$$' -from 6501 -seeds 3500 || failed=1; \
		wait $$! || failed=1; exit $$failed)

SECONDS_EACH := $(or $(SECONDS),600)
unexport SECONDS # bash counts in a variable of that name
.PHONY: soak
soak: soak-simulation soak-processes ## both soaks; SECONDS=600 says how long the simulation runs

.PHONY: soak-simulation
soak-simulation: ## as many new histories as fit into SECONDS (600), on every processor
	$(call part,soak,failed=0; for n in $$(seq "$$(nproc)"); do \
		go test ./internal/simulation -run '^TestSeeds$$' -v -seconds $(SECONDS_EACH) -timeout 0 & done; \
		for job in $$(jobs -p); do wait "$$job" || failed=1; done; exit $$failed)

.PHONY: mutants
mutants: ## break the engine on purpose, in one way after the other, and see whether the simulation notices
	go run ./internal/mutants

.PHONY: fuzz
fuzz: ## every fuzzer of every module in turn, SECONDS (30) each; what one finds becomes a seed file beside it
	$(call part,fuzz,failed=0; for folder in $$(grep -rl '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules . | xargs -n1 dirname | sort -u); do \
		names=$$(go test -C "$$folder" -list '^Fuzz') || { echo "$$names"; failed=1; continue; }; \
		for name in $$(grep '^Fuzz' <<<"$$names" || true); do echo "--- $$folder $$name"; \
			go test -C "$$folder" -run '^$$' -fuzz "^$$name\$$" -fuzztime "$(or $(SECONDS),30)s" || failed=1; done; done; exit $$failed)

.PHONY: soak-processes
soak-processes: provision ## the eight processes of internal/e2e/fleet for a minute a cell, and those of replicas for five
	EVERGRANT_E2E=1 EVERGRANT_SOAK=60 go test -C internal/e2e -race -v -timeout=30m -run '^TestFleet$$' ./fleet
	EVERGRANT_E2E=1 EVERGRANT_SOAK=300 go test -C internal/e2e -race -v -timeout=30m -run '^TestReplicas$$' ./replicas

.PHONY: windows
windows: ## the file and keychain stores as Windows programs, under Wine (Debian; root or sudo)
	$(call part,windows,internal/e2e/windows.sh)

.PHONY: bench
bench: ## Evergrant beside net/http, x/oauth2, Google's and Microsoft's libraries, as docs/performance.md
	EVERGRANT_BENCH="$(CURDIR)/docs/performance.md" go test -C internal/bench -count=1 -v -timeout=15m -run '^TestPerformance$$' ./peers

.PHONY: bench-stores
bench-stores: provision ## Load and Swap of every store beside what it cannot do without, as docs/stores.md
	EVERGRANT_E2E=1 EVERGRANT_BENCH="$(CURDIR)/docs/stores.md" go test -C internal/bench -count=1 -v -timeout=10m -run '^TestStores$$' ./stores

GRANTS := 1000000
.PHONY: scale
scale: provision ## a million grants (GRANTS) in PostgreSQL and Redis, and eight processes that renew a tenth of them
	EVERGRANT_E2E=1 EVERGRANT_SCALE=$(GRANTS) go test -C internal/bench -count=1 -v -timeout=2h -run '^TestScale$$' ./scale

.PHONY: api
api: ## rewrite the golden files of the exported API
	go test ./internal/house -run '^TestExportedAPI$$' -update

.PHONY: pages
pages: ## rewrite docs/conformance.md and docs/interop.md from what the tests show
	go test ./internal/house -run '^TestConformance$$' -update
	EVERGRANT_E2E=1 go test -C internal/e2e ./interop -update

.PHONY: quickstart
quickstart: ## one login and ten seconds of calls against an embedded provider
	go run -C examples ./quickstart
