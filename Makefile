# Every target is complete by itself: what the machine lacks is installed first, where that is possible.

CARGO ?= cargo
# Where rustup puts it, for shells that were there before.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help demo test check deny fixtures
.NOTPARALLEL:

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## build, probe every emulator of this machine into a throw-away cache, show what it answers
	@scripts/install-deps.sh cargo cc qemu
	@CARGO='$(CARGO)' scripts/demo.sh

test: ## run all tests, those on real emulators included
	@scripts/install-deps.sh cargo cc faketime qemu strace
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -ex; \
		$(CARGO) nextest run --workspace --all-features --locked; \
		$(CARGO) test --doc --workspace --all-features --locked; \
	else \
		set -ex; \
		$(CARGO) test --workspace --all-features --locked; \
	fi
	@scripts/skipped.sh

check: ## formatting, lints, documentation and dependency rules, warnings denied
	@scripts/install-deps.sh cargo cc rustfmt clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) clippy --package capscache --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --lib --no-deps --all-features --locked
	CARGO='$(CARGO)' scripts/check-dependencies.sh

deny: ## bans, licences and sources of the dependencies (needs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo 'cargo-deny is not installed; get it with: cargo install cargo-deny --locked' >&2; exit 1; }
	$(CARGO) deny --locked check bans licenses sources

fixtures: ## record the transcripts in fixtures/ anew (root, Debian 12, /dev/kvm; downloads two systems)
	@scripts/install-deps.sh cargo cc qemu debootstrap
	$(CARGO) build --release --locked --target-dir "$${CARGO_TARGET_DIR:-target}"
	fixtures/record.sh
