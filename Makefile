# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT

SWIFT_FLAGS := --explicit-target-dependency-import-check error
PREFIX ?= /usr/local
PROGRAM ?= .build/release/nws
# Where the program is when the unit files are used.
UNIT_PREFIX ?= $(PREFIX)

.PHONY: help deps build release test test-unit test-e2e lint format demo install clean bench fuzz sanitize soak autobahn instructions abuse nightly wan dist docs packages c-parts

help: ## Show the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

deps: ## Install what building and running need
	@scripts/install-dependencies run

build: deps ## Build everything for debugging
	swift build $(SWIFT_FLAGS)

release: deps ## Build .build/release/nws
	@scripts/build-release nws

demo: ## Shares a small web page, joins it as a second device, and fetches the page (ONCE=1 then stops)
	@scripts/install-dependencies run
	@scripts/demo

install: ## Install the program, manual, completions, unit files and examples below PREFIX (after make release)
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/nws/examples $(DESTDIR)$(PREFIX)/lib/systemd/system \
	  $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -s -m 0755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/nws
	$(PROGRAM) manual > $(DESTDIR)$(PREFIX)/share/man/man1/nws.1
	$(PROGRAM) --generate-completion-script bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/nws
	$(PROGRAM) --generate-completion-script zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_nws
	$(PROGRAM) --generate-completion-script fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/nws.fish
	cp -r README.md docs $(DESTDIR)$(PREFIX)/share/doc/nws/
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/nws/docs/vectors $(DESTDIR)$(PREFIX)/share/doc/nws/docs/requirements.txt
	for role in exit entry relay; do \
	  install -m 0644 packaging/examples/$$role.yaml $(DESTDIR)$(PREFIX)/share/doc/nws/examples/$$role.yaml; \
	  sed -e 's,/usr/local/bin,$(UNIT_PREFIX)/bin,' -e 's,/usr/share/doc,$(UNIT_PREFIX)/share/doc,' packaging/systemd/nws-$$role.service \
	    > $(DESTDIR)$(PREFIX)/lib/systemd/system/nws-$$role.service; \
	done

test: ## Install what is missing and run all tests, on one optimized build (.build-test)
	@scripts/install-dependencies test
	@scripts/test-build
	@$(MAKE) --no-print-directory test-unit test-e2e

test-unit: ## Unit, simulation and in-process tests
	@scripts/test-build --run

test-e2e: ## Real processes and other people's programs
	@scripts/test-build
	@NWS_BINARY=$(CURDIR)/.build-test/release/nws scripts/end-to-end

bench: deps ## Measure stages, relay and tunnel; writes benchmark.json
	@scripts/bench

fuzz: deps ## Fuzz every decoder (SECONDS_EACH=60, TARGETS=…)
	@scripts/fuzz

sanitize: deps ## Swift tests under the address and thread sanitizers
	@scripts/sanitize

autobahn: ## Run the Autobahn suite on the WebSocket server and client (CASES=…)
	@scripts/install-dependencies test
	@scripts/autobahn

instructions: ## Count the instructions of each stage (callgrind) and compare them with their limits
	@scripts/install-dependencies test
	@scripts/test-build
	@scripts/instructions

abuse: release ## Floods and other attacks next to a download: their cost, and memory
	@scripts/install-dependencies test
	@scripts/abuse

wan: release ## Transfers and outages over an emulated internet, beside ssh; needs root (SCENARIOS=…, PAIRS=5)
	@scripts/install-dependencies wan
	@scripts/wan $${SCENARIOS:-} --pairs $${PAIRS:-5}

dist: deps ## Build a tarball, a Debian package and checksums in dist/
	@scripts/dist

docs: ## Build the documentation as a site with search in .build/site
	@scripts/docs

packages: dist ## Install the packages in fresh systems and use them; needs root
	@scripts/install-dependencies packages
	@scripts/test-packages

c-parts: ## Test the C parts here, and for arm64 in an emulator
	@scripts/install-dependencies packages
	@scripts/c-parts

nightly: sanitize fuzz abuse autobahn soak docs c-parts packages ## The long checks: sanitizers, fuzzing, attacks, Autobahn, soak, site and packages

soak: release ## Streams for a long time over failing relays, with kills and restarts (MINUTES=30, SEED=…)
	@scripts/install-dependencies test
	@scripts/soak --minutes $${MINUTES:-30} $${SEED:+--seed $$SEED}

lint: ## Check formatting, that public declarations are documented, and the values of docs/LIMITS.md
	@scripts/check-api-docs
	@scripts/limits --check
	swift format lint --strict --recursive --parallel Package.swift Sources Tests Benchmarks Fuzzing

format: ## Format all sources
	swift format --in-place --recursive --parallel Package.swift Sources Tests Benchmarks Fuzzing

clean: ## Remove build products
	rm -rf .build .build-test .build-fuzz .build-address .build-thread .build-dist dist
