# The steps of tests/all, which sets the environment and decides what runs side by side. What a step needs is its
# prerequisite.
# The comment after ## is the step's line in `tests/all --list`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:

export NPC_TEST_CACHE := $(or $(NPC_TEST_CACHE),$(HOME)/.cache/npc)
TOOLS := $(NPC_TEST_CACHE)/bin
PACKAGES := $(NPC_TEST_CACHE)/packages
BINARIES := target/checked
START := $(or $(NPC_TEST_START),$(shell date +%s))

# One set of features for every step: `--workspace` with the names of the tests, so that nothing is compiled twice.
CARGO_TEST := cargo test --quiet --workspace --profile checked
# Test binaries with a step of their own: they need a cluster or the kernel, and mostly wait.
ALONE := kernel node real_node api_server kyverno_live
SUITES = $(filter-out $(ALONE),$(shell cargo metadata --quiet --no-deps --format-version 1 | \
  jq -r '.packages[].targets[] | select(.kind == ["test"]) | .name' | sort -u))

.PHONY: build tools engines previous lint dependencies kernel-objects ci editors grammars vscode browser fuzz chart suites \
  node cluster older-kernel real-node kernel try clock

define began
now=$$(date +%s); at=$$((now - $(START)))
cleanup() { :; }
trap 'result=$$?; cleanup; echo "== $@: $$([ $$result = 0 ] && echo passed || echo FAILED), $$(( $$(date +%s) - now )) s from $$((at / 60))m$$((at % 60))s"; echo' EXIT
echo "== $@"
endef

lint: ## formatting and Clippy
	$(began)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

dependencies: ## licences and sources of the dependencies
	$(began)
	[ -x "$(TOOLS)/cargo-deny" ] || cargo install --quiet --locked --debug --root "$(NPC_TEST_CACHE)" cargo-deny
	"$(TOOLS)/cargo-deny" check bans licenses sources

kernel-objects: ## the committed eBPF objects are those of their sources
	$(began)
	objects=$$(mktemp -d)
	runtime/kernel/build "$$objects"
	for object in "$$objects"/*.o; do
	  cmp "$$object" "runtime/kernel/$${object##*/}" || {
	    echo "runtime/kernel/$${object##*/} differs from its source: run runtime/kernel/build and commit the result"
	    exit 1
	  }
	done

build: ## compiles the tests, and with them the commands
	$(began)
	$(CARGO_TEST) --no-run

tools: ## builds Kubernetes, Kyverno and Helm into the cache
	$(began)
	tests/cluster/build.sh

engines: tools ## builds the policy engines of Cilium, Calico and cyclonus into the cache
	$(began)
	tests/differential/build.sh

previous: ## builds the previous version of npc-node into the cache
	$(began)
	tests/previous_version

ci: ## the GitHub action, the pre-commit hooks, and SARIF against its schema
	$(began)
	if [ ! -x "$(PACKAGES)/python/bin/pre-commit" ]; then
	  python3 -m venv "$(PACKAGES)/python"
	  "$(PACKAGES)/python/bin/pip" install --quiet jsonschema==4.25.1 pre-commit==4.3.0
	fi
	# The schema of SARIF 2.1.0, which this crate contains.
	if [ ! -s "$(PACKAGES)/sarif.json" ]; then
	  mkdir -p "$(PACKAGES)/sarif/src"
	  printf '[package]\nname = "schema"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\nserde-sarif = "=0.8.0"\n' >"$(PACKAGES)/sarif/Cargo.toml"
	  touch "$(PACKAGES)/sarif/src/lib.rs"
	  manifest=$$(cargo metadata --quiet --format-version 1 --manifest-path "$(PACKAGES)/sarif/Cargo.toml" |
	    grep -o '"manifest_path":"[^"]*serde-sarif-0.8.0[^"]*"' | head -n 1 | cut -d '"' -f 4)
	  cp "$$(dirname "$$manifest")/src/schema.json" "$(PACKAGES)/sarif.json"
	fi
	"$(PACKAGES)/python/bin/python" tests/ci_steps.py . target/release "$(PACKAGES)/sarif.json"

grammars: build ## the grammars for editors against the compiler
	$(began)
	tests/grammar/run $(BINARIES)/examples/tokens

editors: build ## Neovim, Emacs and Helix with the language server
	$(began)
	tests/editors/neovim/run $(BINARIES)/npc
	tests/editors/emacs/run $(BINARIES)/npc
	if command -v hx >/dev/null; then
	  tests/editors/helix/run $(BINARIES)/npc
	else
	  source tests/skip.sh
	  skip helix "not installed"
	fi

vscode: build ## the extension in VS Code's workbench, in Chromium
	$(began)
	npm ci --silent --no-audit --no-fund --prefix editors/vscode
	npm run --silent --prefix editors/vscode check
	tests/editors/workbench/run $(BINARIES)/npc target/workbench

browser: build ## the page of `npc reach` in Chromium
	$(began)
	npm ci --silent --no-audit --no-fund --prefix tests/browser
	node tests/browser/reach.mjs $(BINARIES)/npc tests/browser/reach.np tests/browser/reach.cluster.yaml target/browser

fuzz: ## fuzzes every reader of bytes
	$(began)
	tests/fuzz "$${NPC_FUZZ_SECONDS:-30}"

chart: tools ## the Helm chart and the manifests made from it
	$(began)
	export PATH=$(TOOLS):$$PATH
	helm lint --quiet deploy/helm/npc-node
	manifests=$$(mktemp)
	deploy/render "$$manifests"
	cmp "$$manifests" deploy/manifests/npc-node.yaml || {
	  echo "deploy/manifests differs from the chart: run deploy/render and commit the result"
	  exit 1
	}

suites: build tools engines ## unit tests and suites
	$(began)
	export NPC_TEST_THOROUGH=1 NPC_TEST_TOOLS=$(TOOLS)
	$(CARGO_TEST) --no-fail-fast --lib --bins $(SUITES:%=--test %) -- --show-output

kernel: build ## verdicts and packets against the eBPF program
	$(began)
	NPC_TEST_KERNEL=1 $(CARGO_TEST) --test kernel

node: build previous ## npc-node with real packets between network namespaces
	$(began)
	NPC_TEST_KERNEL=1 NPC_TEST_PREVIOUS=$$(tests/previous_version) $(CARGO_TEST) --test node

real-node: build tools ## npc-node with a real kubelet, containerd and kube-proxy
	$(began)
	NPC_TEST_KERNEL=1 NPC_TEST_TOOLS=$(TOOLS) $(CARGO_TEST) --test real_node

cluster: build tools ## a real API server and Kyverno's controllers
	$(began)
	cleanup() { tests/cluster/down.sh; }
	source tests/cluster/env.sh
	tests/cluster/up.sh
	export NPC_TEST_THOROUGH=1 NPC_TEST_TOOLS=$(TOOLS)
	$(CARGO_TEST) --no-fail-fast --test api_server --test kyverno_live

try: build ## the node as the README shows it
	$(began)
	output=$$(NPC_BIN=$$PWD/$(BINARIES) deploy/try/run 2>&1)
	echo "$$output"
	for line in "arrived: the database's kernel answers" "no answer" \
	  "DROPPED ingress demo/shop .* -> demo/database .*:22) tcp: no rule allows it: policy database, policies.np:2"; do
	  grep -q "$$line" <<<"$$output" || { echo "deploy/try/run does not print: $$line"; exit 1; }
	done

older-kernel: build ## the eBPF program in Linux 6.12
	$(began)
	tests/older_kernel/run $(BINARIES)/npc-node

clock: build ## npc-node while the machine's clock jumps
	$(began)
	NPC_TEST_KERNEL=1 NPC_TEST_CLOCK=1 $(CARGO_TEST) --test node
