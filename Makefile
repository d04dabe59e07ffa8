# `make` alone prints what there is to make.

GO         ?= go
BIN        ?= bin
TOOL       := $(GO) tool -modfile=tools/go.mod

# How much the long targets do.
FUZZTIME   ?= 60s
SIM_SEEDS  ?= 5000
SIM_FIRST  ?= 1
E2E        ?= full
CRASH      ?= full
BENCH      ?= .
BENCH_COUNT ?= 6
PEERS      ?= --rounds 5
SPACE_MB   ?= 200

# The packages whose tests run with the race detector: those in which goroutines
# meet. lease and adapter/pgwal have none and walk for minutes under it.
RACE := . ./proto/... ./adapter ./adapter/ship ./raftlog/... ./engine/... ./logservice/... ./clustermgr/...

# Not with the race detector: what goes through every point of a crash or of a
# damage, with one goroutine, or in processes of their own.
NO_RACE := ^(TestStoppedAnywhere|TestCrashAnywhere|TestCrash|TestFlippedBitIsSeen|TestLostSectorIsSeen|TestMissingFileIsSeen|TestDamageIsRefusedWithItsPlace|TestNothingFlushedIsLostToAKill.*)$$

.DEFAULT_GOAL := help
.PHONY: help build test race vet lint generate fuzz sim spec crash model space e2e fleet bench bench-go bench-peers demo ci clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/pinetree and bin/clustermgr
	$(GO) build -trimpath -o $(BIN)/ ./cmd/pinetree ./cmd/clustermgr

test: ## all tests in their default size
	$(GO) test ./...

race: ## tests with the race detector, without the long suites
	$(GO) test -race -timeout 20m -skip '$(NO_RACE)' $(RACE)

vet: ## go vet
	$(GO) vet ./...

lint: vet ## vet, formatting and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(TOOL) staticcheck ./...

generate: ## compile the .proto files
	$(GO) generate ./proto/...

fuzz: ## each fuzz target for FUZZTIME (60s), or so many inputs, such as 200000x
	@set -e; for folder in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$folder/*_test.go); do \
			echo "== $$folder $$target"; \
			$(GO) test $$folder -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 200x; \
		done; \
	done

sim: ## the simulation with SIM_SEEDS (5000) seeds from SIM_FIRST (1) on
	$(GO) test ./test/sim -run 'TestSeeds|TestLeaseTrouble' -count=1 -timeout 60m -v -args -sim.seeds=$(SIM_SEEDS) -sim.first=$(SIM_FIRST)

spec: ## the lease's specification, checked by Spin; some minutes and a gigabyte or two
	lease/spec/check.sh

crash: ## replicas and engines that crash and fail at every call that changes their files; about 6 minutes
	PINETREE_CRASH=$(CRASH) $(GO) test ./test/crash ./engine/pebbleengine -count=1 -timeout 60m -v

model: ## badger and pebble under 500,000 random changes, compared with a model; about 8 minutes
	PINETREE_MODEL=full $(GO) test ./test/model -count=1 -timeout 60m -v

space: ## engines give SPACE_MB (200) of log back, but for a tenth, and do not grow beside writes; about 5 minutes
	PINETREE_SPACE_MB=$(SPACE_MB) $(GO) test ./engine/badgerengine ./engine/pebbleengine ./engine/walengine -p 1 -run Space -count=1 -v

e2e: ## the end-to-end tests with real processes in full; as root, about an hour
	PINETREE_E2E=$(E2E) $(GO) test ./test/e2e -count=1 -timeout 120m -v
	PINETREE_POWER_CUT=1 $(GO) test -p 1 ./engine/... -run PowerCut -count=1 -timeout 20m -v

fleet: ## one real manager against 50 simulated nodes and 5,000 groups; a minute, on a quiet machine
	PINETREE_FLEET=full $(GO) test ./test/fleet -count=1 -v

bench: ## the usual loads on a real cluster, about a minute; more flags in BENCH_FLAGS
	$(GO) run ./cmd/pinetree bench ship --table $(BENCH_FLAGS)

bench-go: ## Go benchmarks that match BENCH (.), BENCH_COUNT (6) times, ready for benchstat
	$(GO) test ./... -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCH_COUNT)

bench-peers: ## Pinetree and its peers under the same loads, with the arguments PEERS; about an hour
	cd test/bench/peers && $(GO) run . $(PEERS)

demo: ## a whole cluster on this machine, with real input, failures and moves
	$(GO) run ./cmd/pinetree demo

ci: ## what is run on a clean checkout before a change is taken
	bash .ci/run

clean: ## delete what build made
	rm -rf $(BIN)
