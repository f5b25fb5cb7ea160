# Every target is complete by itself: what the machine lacks is installed first, where that is possible.

CARGO ?= cargo
# Where rustup puts it, for shells that were there before.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Everything but the comparison with libxml2, which only `make bench` builds.
WITHOUT_LIBXML2 := --workspace --exclude capscache-bench --all-features

.PHONY: help demo test test-hosts test-install-c test-python test-peers test-packages bench bench-peers fuzz fuzz-smoke miri \
	check msrv package packages static deny semver fixtures install-c wheel
.NOTPARALLEL:

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## build, probe every emulator of this machine into a throw-away cache, show the answers
	@scripts/install-deps.sh cargo cc qemu
	@CARGO='$(CARGO)' scripts/demo.sh

test: ## run all tests, those on real emulators included
	@scripts/install-deps.sh cargo cc c++ faketime fish go jq perl qemu strace valgrind yaml zsh
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -ex; \
		$(CARGO) nextest run $(WITHOUT_LIBXML2) --locked; \
		$(CARGO) test --doc $(WITHOUT_LIBXML2) --locked; \
	else \
		set -ex; \
		$(CARGO) test $(WITHOUT_LIBXML2) --locked; \
	fi
	$(CARGO) test --package capscache-c --no-default-features --lib --locked
	@$(MAKE) --no-print-directory test-python
	@scripts/skipped.sh

test-hosts: ## the tests of format and reader for s390x, armv7, powerpc, aarch64 and musl; entries go both ways (downloads with rustup and apt)
	@scripts/install-deps.sh cargo cc qemu
	@scripts/install-deps.sh cross || true # What is missing is skipped.
	CARGO='$(CARGO)' scripts/test-hosts.sh

test-python: ## build the wheel of the Python package, and run its tests and examples in a virtual environment
	@scripts/install-deps.sh cargo cc python3 qemu
	CARGO='$(CARGO)' scripts/test-python.sh

test-peers: ## compare with libvirt itself (lists changes of the machine, and waits for confirmation unless CI=true; as root downloads three systems)
	@scripts/install-deps.sh cargo cc qemu
	@scripts/install-peers.sh
	@if [ "$$(id -u)" = 0 ]; then \
		set -ex; \
		scripts/install-deps.sh debootstrap; \
		fixtures/roots.sh "$${CARGO_TARGET_DIR:-target}/fixture-roots" libvirt-bookworm libvirt-trixie libvirt-sid; \
	fi
	$(CARGO) test --locked --package capscache-cli --test peers -- --nocapture --test-threads 1

test-packages: packages ## packages of QEMU under the service, and those of `make packages` in Debian 12, 13 and sid (root; downloads them)
	@scripts/install-deps.sh cargo cc debootstrap
	fixtures/roots.sh "$${CARGO_TARGET_DIR:-target}/fixture-roots" packages host-bookworm host-trixie host-sid
	$(CARGO) test --locked --package capscache-cli --test service packages -- --nocapture --test-threads 1
	cd "$${CARGO_TARGET_DIR:-target}" && '$(CURDIR)/tests/packages/run.sh' packages fixture-roots/host-bookworm \
		fixture-roots/host-trixie fixture-roots/host-sid

packages: ## build Debian packages into target/packages and check them; build the RPM packages into target/rpm
	@scripts/install-deps.sh cargo cc debhelper lintian rpm
	CARGO='$(CARGO)' scripts/make-packages.sh

static: ## build the command as one static program, with musl, in target/*-linux-musl/release; have it probe an emulator
	@scripts/install-deps.sh cargo cc qemu
	CARGO='$(CARGO)' scripts/static.sh

install-c: ## install the C library below PREFIX, /usr/local by default, in DESTDIR: shared, static, header, pkg-config
	@scripts/install-deps.sh cargo cc cargo-c
	$(CARGO) cinstall --release --locked --package capscache-c --prefix $(or $(PREFIX),/usr/local) \
		$(if $(DESTDIR),--destdir $(DESTDIR)) $(if $(LIBDIR),--libdir $(LIBDIR))

test-install-c: ## install the C library below target/install-c; build and run a program with it: shared, archive, static
	@scripts/install-deps.sh cargo cc pkg-config qemu
	rm -rf "$${CARGO_TARGET_DIR:-target}/install-c"
	$(MAKE) --no-print-directory install-c PREFIX=/usr DESTDIR="$${CARGO_TARGET_DIR:-target}/install-c"
	tests/packages/install-c.sh "$${CARGO_TARGET_DIR:-target}/install-c"

wheel: ## build the wheel of the Python package in target/wheels
	@scripts/install-deps.sh cargo cc python3
	CARGO='$(CARGO)' scripts/wheel.sh release "$${CARGO_TARGET_DIR:-target}/wheels"

bench: ## XML against the mapped cache, the probe against its limit, addresses: tables, JSON and plots in target/bench
	@scripts/install-deps.sh cargo cc go qemu libxml2
	$(CARGO) build --release --locked --workspace --features capscache-bench/libxml2
	$(CARGO) rustc --release --locked --package capscache-c --lib --crate-type cdylib
	$(CARGO) run --release --locked --package capscache-bench --features libxml2 -- \
		--json target/bench/bench.json --plot target/bench
	$(CARGO) bench --locked --package capscache-bench --bench devaddr

bench-peers: ## as bench, with libvirt beside it (lists changes of the machine, and waits for confirmation unless CI=true)
	@scripts/install-peers.sh
	@$(MAKE) --no-print-directory bench

fuzz: ## fuzz each target for TIME seconds, from the corpus (needs a nightly toolchain and cargo-fuzz)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
		echo 'cargo-fuzz is not installed; get it with: cargo install cargo-fuzz --locked' >&2; exit 1; }
	CARGO='$(CARGO)' fuzz/run.sh $(or $(TIME),600)

fuzz-smoke: ## fuzz each target for TIME seconds, 5 by default, and leave the corpus as it is (as fuzz)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
		echo 'cargo-fuzz is not installed; get it with: cargo install cargo-fuzz --locked' >&2; exit 1; }
	CARGO='$(CARGO)' fuzz/run.sh $(or $(TIME),5) --keep-corpus

miri: ## the tests of the format under Miri (needs a nightly toolchain with miri)
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --locked --package capscache-format --lib --tests

check: ## formatting, lints, documentation and dependency rules, warnings denied
	@scripts/install-deps.sh cargo cc rustfmt clippy typos
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(WITHOUT_LIBXML2) --all-targets --locked -- -D warnings
	$(CARGO) clippy --package capscache-bench --all-targets --locked -- -D warnings
	$(CARGO) clippy --package capscache --no-default-features --locked -- -D warnings
	$(CARGO) clippy --package capscache-c --no-default-features --lib --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(WITHOUT_LIBXML2) --lib --no-deps --locked
	CARGO='$(CARGO)' scripts/check-dependencies.sh
	CARGO='$(CARGO)' scripts/check-modules.sh
	scripts/check-language.sh
	@if command -v typos >/dev/null; then echo typos; typos; \
	else echo 'SKIPPED: no typos: spelling and words are not checked; get it with: cargo install typos-cli --locked'; fi
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
	else echo 'SKIPPED: no cargo-deny: dependencies are not checked; get it with: cargo install cargo-deny --locked'; fi
	@$(MAKE) --no-print-directory msrv package

msrv: ## build packages with the oldest Rust that their manifests promise (needs rustup)
	@scripts/install-deps.sh cargo cc
	scripts/check-msrv.sh

package: ## package all that is to be published, and check each package from its archive
	@scripts/install-deps.sh cargo cc
	CARGO='$(CARGO)' scripts/check-packages.sh

semver: ## compare the public API with that of the git revision BASELINE (needs cargo-semver-checks)
	@[ -n "$(BASELINE)" ] || { echo 'give the git revision to compare with: make semver BASELINE=v0.1.0' >&2; exit 1; }
	@$(CARGO) semver-checks --version >/dev/null 2>&1 || { \
		echo 'cargo-semver-checks is not installed; get it with: cargo install cargo-semver-checks --locked' >&2; exit 1; }
	$(CARGO) semver-checks --workspace --exclude capscache-bench --exclude capscache-test-support --baseline-rev $(BASELINE)

deny: ## bans, licences and sources of the dependencies (needs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo 'cargo-deny is not installed; get it with: cargo install cargo-deny --locked' >&2; exit 1; }
	$(CARGO) deny --locked check bans licenses sources

fixtures: ## record the transcripts in fixtures/ anew (root, Debian 12, /dev/kvm; downloads two systems)
	@scripts/install-deps.sh cargo cc qemu debootstrap
	$(CARGO) build --release --locked --target-dir "$${CARGO_TARGET_DIR:-target}"
	fixtures/record.sh
