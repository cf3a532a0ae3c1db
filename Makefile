# The tasks of the house. `make help` lists them.

CARGO ?= cargo

.PHONY: help build test demo bench worlds schedules kills kill-nine watch-proof cuts catalogue million enrollments hostile fuzz released fmt lint
.DEFAULT_GOAL := help

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build settled and settlectl
	$(CARGO) build --workspace --bins

# What runs a second time, on PostgreSQL: the API, and of whole daemons what concerns the store most. A full disk under the data directory is
# SQLite's matter.
ON_POSTGRES = --package settled-tests --test api --test whole

test: ## Run all tests; as root on Debian or Ubuntu, install what they need first
	@.ci/setup
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; $(CARGO) nextest run --workspace && \
		SETTLED_TEST_ENGINE=postgres $(CARGO) nextest run $(ON_POSTGRES) -E '(binary(api) - test(full_disk)) | (test(/^(nine|lifecycles|on_schedule|webhooks)::/) - test(taken_over))'; \
	else \
		set -x; $(CARGO) test --workspace && \
		SETTLED_TEST_ENGINE=postgres $(CARGO) test $(ON_POSTGRES) -- --skip full_disk; \
	fi

demo: ## Watch settled do its main job on a throwaway server of its own
	@$(CARGO) build --profile quick --package settled --package settlectl
	@BIN="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/quick" tests/demo/run.sh

bench: ## Measure settled beside raw baselines
	@.ci/setup
	$(CARGO) build --release --workspace --bins
	$(CARGO) bench --package settled-tests

worlds: ## Live 10 000 simulated worlds, each asserted after every step (SETTLED_SEEDS for more; tens of minutes)
	SETTLED_SEEDS=$${SETTLED_SEEDS:-10000} $(CARGO) test --profile quick --package settled-tests --test simulation -- --nocapture p1_to_p10

schedules: ## Live five years of schedules in six time zones with odd rules, three daemons on one store (an hour)
	SETTLED_SCHEDULES=whole $(CARGO) test --profile quick --package settled-tests --test schedules -- --nocapture simulation

kills: ## Kill the server's side of the step protocol at every telling system call (some 20 minutes)
	@.ci/setup
	$(CARGO) test --package settled-tests --test step_protocol -- \
		--ignored --nocapture --exact kills::p5_a_kill_at_every_point_never_runs_twice_and_never_lies

PROOF = --package settled-tests --test proof -- --nocapture --test-threads 1

kill-nine: ## Kill the daemon 1000 times on each store, stop one of three 100 times (SETTLED_SEED chooses; about 80 minutes)
	@.ci/setup
	$(CARGO) build --workspace --bins
	SETTLED_KILLS=1000 $(CARGO) test $(PROOF) kill_nine
	SETTLED_PAUSES=100 $(CARGO) test $(PROOF) paused

watch-proof: ## Cut 1000 connections of watchers and kill the daemon 100 times under load, on each store; judge all six promises of a watch
	@.ci/setup
	$(CARGO) build --workspace --bins
	SETTLED_CUTS=1000 SETTLED_RESTARTS=100 $(CARGO) test $(PROOF) p10_watches_keep

cuts: ## Pull the cable of a whole host for a minute in the middle of apt, and cut its power (as root; some minutes)
	@.ci/setup
	$(CARGO) build --workspace --bins
	SETTLED_CUT_S=60 $(CARGO) test --package settled-tests --test hosts -- --nocapture

catalogue: ## Have each built-in package come to a whole host and go, with what goes wrong; prints what took how long (as root)
	@.ci/setup
	$(CARGO) build --workspace --bins
	$(CARGO) test --package settled-tests --test hosts -- --nocapture --test-threads 1 come

million: ## Restart after a kill with 1 000 000 finished runs in the store and 100 steps at work (some minutes)
	@.ci/setup
	$(CARGO) build --profile quick --workspace --bins
	$(CARGO) test --profile quick $(PROOF) --ignored million

enrollments: ## Work off 100 000 enrollments that are due at once, on each store; prints figures (SETTLED_ENROLLMENTS for another number)
	@.ci/setup
	$(CARGO) test --profile quick --package settled-tests --test proof -- --ignored --nocapture enrollments
	SETTLED_TEST_ENGINE=postgres $(CARGO) test --profile quick --package settled-tests --test proof -- --ignored --nocapture enrollments

hostile: ## Be hostile to a daemon in eleven ways, SETTLED_HOSTILE_S seconds each (10); prints figures as lines of JSON (as root)
	@.ci/setup
	$(CARGO) build --profile quick --workspace --bins
	SETTLED_HOSTILE_S=$${SETTLED_HOSTILE_S:-10} $(CARGO) test --profile quick --package settled-tests --test hostile -- --nocapture --test-threads 1

fuzz: ## Feed everything that reads what others wrote with nonsense, SETTLED_FUZZ_S seconds for each of its targets (10)
	SETTLED_FUZZ_S=$${SETTLED_FUZZ_S:-10} $(CARGO) test --profile quick --package settled-tests --test fuzz -- --nocapture --test-threads 1

released: ## At a release: keep the API as it is now, so that later changes cannot break it
	SETTLED_RELEASE=1 $(CARGO) test --package settled-tests --test api breaking::nothing

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check format, lints and documentation, as .ci/run does
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
