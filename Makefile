# Everything that can be done with a checkout; only python3 and make are assumed, the rest is set up by the first call.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Commands and the Debian packages that bring them.
DEMO := ip:iproute2 ping:iputils-ping
TEST := $(DEMO) openssl:openssl tshark:tshark tcpdump:tcpdump iperf3:iperf3
INTEROP := $(TEST) mmdebstrap:mmdebstrap mount:mount
# The tests of what speaks IKEv2, without a network.
CORE := tests/unit/wire tests/unit/crypto tests/unit/pki tests/unit/eap tests/unit/ike tests/pair tests/property tests/fuzz
KERNEL := $(INTEROP) nft:nftables gcc:gcc flex:flex bison:bison bc:bc xz:xz-utils

.PHONY: help demo test coverage lint interop interop-kernel bench soak venv clean

help:
	@echo "make demo      two daemons, a Child SA per CPU between them, in namespaces of their own"
	@echo "make test      every test that can run here"
	@echo "make coverage  branch coverage of wire, crypto and ike, in four minutes; fails unless it is complete"
	@echo "make lint      ruff and mypy"
	@echo "make interop   the scenarios with strongSwan and Libreswan (as root; the first time builds a kernel, 7 minutes)"
	@echo "make interop-kernel   those of them with the kernel's XFRM alone, in a guest with that kernel"
	@echo "make bench     throughput beside strongSwan's ESP in user space (as root)"
	@echo "make soak      a year of rekeys of 20 tunnels, in minutes"
	@echo "make venv      only set up the virtual environment"
	@echo "make clean     remove what these made in the checkout"

demo: $(READY)
	@$(call install,$(DEMO))
	@$(BIN)/ikeclone demo

test: $(READY)
	@$(call install,$(TEST))
	@$(BIN)/pytest -n auto

coverage: $(READY)
	@$(BIN)/pytest -n auto --timeout=300 --cov=ikeclone.wire --cov=ikeclone.crypto --cov=ikeclone.ike \
	    --cov-report=term-missing:skip-covered --cov-fail-under=100 $(CORE)

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

interop: $(READY)
	@$(call install,$(KERNEL))
	@mkdir -p build
	@flock build/interop.lock $(BIN)/python -m interop

interop-kernel: $(READY)
	@$(call install,$(KERNEL))
	@mkdir -p build
	@flock build/interop.lock $(BIN)/python -m interop.kernel

soak: $(READY)
	@$(BIN)/python -m tests.soak

bench: $(READY)
	@$(call install,$(INTEROP))
	@$(BIN)/python -m interop.bench

venv: $(READY)

# The lock lets calls from several shells wait for each other; who comes second finds the work done.
$(READY): pyproject.toml
	@$(call python,ensurepip venv,python3-venv)
	@flock Makefile sh -c '[ $@ -nt pyproject.toml ] || { \
	    echo "setting up .venv with the packages of pyproject.toml" && \
	    $(PYTHON) -m venv .venv && \
	    $(BIN)/pip install --quiet --quiet --editable ".[dev]" && \
	    touch $@; }'

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

# install,COMMAND:PACKAGE …  brings the commands that are missing, or says that only root can.
install = missing=$$(for pair in $(1); do command -v "$${pair%:*}" >/dev/null || echo "$${pair\#*:}"; done); $(apt)
# python,MODULE …,PACKAGE  the same for modules of Python.
python = missing=$$($(PYTHON) -c "import $(subst $() ,$(comma),$(1))" 2>/dev/null || echo $(2)); $(apt)
apt = [ -z "$$missing" ] || if [ "$$(id -u)" = 0 ]; then echo "installing" $$missing; \
    { $(apt-get) install $$missing || { $(apt-get) update && $(apt-get) install $$missing; }; } >/dev/null; \
    else echo "not here, and only root can install it:" $$missing; fi
apt-get = DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300
comma := ,
