# `make` prints what there is. Everything is done by cargo and by the command line of services/porchlight.
.DEFAULT_GOAL := help
.PHONY: help setup build up down city crash test helm helm-full helm-cluster image fuzz miri lint deny fmt clean-servers

BIN := $(or $(CARGO_TARGET_DIR),target)/debug/porchlight
# Where `make up` keeps its servers' data.
RUN := .dev/run

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check the toolchains, install missing Debian packages
	@.ci/setup

build: setup ## Build every program
	cargo build --workspace --bins

# Only if it is missing: what runs must be stoppable whatever state the sources are in.
$(BIN):
	@cargo build --quiet --package porchlight

up: setup ## Start Kafka, Cassandra and an S3 server (built once, in minutes); eval "$(make -s up)" lets this shell's commands and tests find them
	@cargo build --quiet --package porchlight
	@$(BIN) servers up --dir $(RUN)

down: $(BIN) ## Stop them; their data stay in .dev/run
	@$(BIN) servers down --dir $(RUN)

city: ## A city that lives, in one process, in this terminal until Ctrl-C (RATE=events/s HOMES=n SPEED=n SEED=n DATA=folder FRESH=1; RELEASE=1: optimized, for a high RATE; REAL=1: on real servers)
	@.ci/setup $(if $(REAL),all,rust)
	cargo build --workspace --bins $(if $(RELEASE),--release)
	@.ci/foreground $(if $(RELEASE),$(subst /debug/,/release/,$(BIN)),$(BIN)) city $(if $(RATE),--rate $(RATE)) $(if $(HOMES),--homes $(HOMES)) $(if $(DATA),--data $(DATA)) \
		$(if $(SEED),--seed $(SEED)) $(if $(SPEED),--speed $(SPEED)) $(if $(FRESH),--fresh) $(if $(REAL),--real)

crash: build ## A network under load that is killed, frozen and cut off, and counted at the end (FAULTS=n SEED=n RATE=events/s PROTOCOL=classic|consumer)
	@.ci/foreground $(BIN) crash $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE)) \
		$(if $(PROTOCOL),--group-protocol $(PROTOCOL))

test: ## Everything: lints, then every test, against servers of their own
	@.ci/test

helm: build ## The chart: lint, its tests, golden manifests, every object against schemas, and all of it against the programs (GOLDEN=1 writes what is made anew)
	@.ci/helm

helm-full: ## The chart in containers: the image, then its pods as restricted as it says, on servers with TLS and passwords, then helm-cluster (needs root; the image takes a quarter of an hour)
	@.ci/helm-full

helm-cluster: setup ## The chart in a Kubernetes API server with simulated nodes: install, test, upgrade, rollback, uninstall (its programs are built once, in half an hour)
	@.ci/helm-cluster

image: ## The image, without a container engine: static programs, built here, in an OCI archive under target/image
	@.ci/setup image
	@helm/tools/image

fuzz: ## The geofence on bytes that nobody thought of; needs a nightly Rust (SECONDS=n for each of two targets)
	@libs/geofence/fuzz/run.sh reader $(or $(SECONDS),60)
	@libs/geofence/fuzz/run.sh index $(or $(SECONDS),60)

# Proptest looks for the folder of a test, which Miri hides from it.
miri: ## The geofence's unit tests under Miri; needs a nightly Rust with its component miri
	@cargo +nightly miri --version >/dev/null 2>&1 || \
		{ echo "miri: it is missing: rustup toolchain install nightly --component miri,rust-src" >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=$(or $(CARGO_TARGET_DIR),target)/miri \
		cargo +nightly miri test --package porchlight-geofence --lib

lint: ## Formatting and clippy; any warning fails
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# It takes minutes to build, and most changes add no dependency: it is no part of `make test`.
deny: ## Licences, sources and banned crates of every dependency (needs cargo-deny: cargo install --locked cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || \
		{ echo "deny: it is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check licenses bans sources

fmt: ## Format
	cargo fmt --all

clean-servers: $(BIN) ## Stop every server under .dev/run and forget their data
	@find $(RUN) -name lock -printf "%h\n" 2>/dev/null | while read -r dir; do $(BIN) servers down --dir "$$dir" || exit 1; done
	rm -rf $(RUN)
