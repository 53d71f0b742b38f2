# Every target sets up what it needs: a fresh clone wants only python3, gcc and make. Set-up happens once; the stamps
# are files in $(VENV). What has to be compiled again is decided by setup.py, on every run.

PYTHON ?= python3
VENV   ?= .venv
CC     ?= cc

PERF_ARGS   ?= --msg-len 4096 --concurrency 32 --seconds 5
PYTEST_ARGS ?=
BENCH_ARGS  ?= compare
SECONDS     ?= 60
HOURS       ?= 1
CHAOS_ARGS  ?=
SEEDS       ?=
SIMULATE_ARGS ?= --jobs 2

CORE    := csrc/build/release/libcmsgr.a
COUNTED := csrc/build/release/count_core
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help perf test contract synthetic sanitize bench micro instructions instructions-record floor lint build clean distclean mutants fuzz simulate chaos asan tsan

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

perf: build ## build, then perf-msgr-client at 4 KiB, 32 requests in flight, against a server of its own (PERF_ARGS)
	$(BIN)/perf-msgr-client $(PERF_ARGS)

test: build $(VENV)/deps-test ## tests of the C core, then all of pytest (PYTEST_ARGS)
	$(MAKE) -C csrc test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

contract: build $(VENV)/deps-test ## rows of the test contract: how many tests each has, or why none
	$(BIN)/python -m tests.contract

synthetic: build $(VENV)/deps-test ## synthetic workloads and lossless pairs in full size, some minutes (PYTEST_ARGS)
	CEPH_MSGR_SYNTHETIC=full $(BIN)/python -m pytest -s tests/synthetic $(PYTEST_ARGS)

simulate: build ## messengers in a simulated world, broken at random: SEEDS=FIRST:END, else 100 fresh ones (SIMULATE_ARGS)
	$(BIN)/python -m ceph_msgr.testing.simulator $(if $(SEEDS),--seeds $(SEEDS)) $(SIMULATE_ARGS)

chaos: build $(VENV)/deps-test ## all campaigns that break things, each for its share of HOURS; figures add up over runs (CHAOS_ARGS)
	$(BIN)/python -m tests.chaos --hours $(HOURS) $(CHAOS_ARGS)

sanitize: ## tests of the C core under ASan and UBSan, the threaded ones under TSan
	$(MAKE) -C csrc asan
	$(MAKE) -C csrc tsan

tsan: build $(VENV)/deps-test ## tests with threads, with the compiled package under ThreadSanitizer; some minutes (PYTEST_ARGS)
	$(BIN)/python -m tests.sanitized thread $(PYTEST_ARGS)

asan: build $(VENV)/deps-test ## the whole suite, with the compiled package under ASan and UBSan; half an hour (PYTEST_ARGS)
	$(BIN)/python -m tests.sanitized address $(PYTEST_ARGS)

mutants: build $(VENV)/deps-test ## historic mistakes put back one at a time: the tests must notice each; half an hour
	$(MAKE) -C csrc test
	$(BIN)/python -m tests.mutants

fuzz: build $(VENV)/deps-test $(VENV)/deps-fuzz ## each fuzz target for SECONDS, and what was reached; needs clang
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

bench: build build/floor $(VENV)/deps-bench ## the pair beside plain C, uvloop, asyncio, pyzmq and gRPC, 3 to 5 minutes (BENCH_ARGS)
	$(BIN)/python -m bench $(BENCH_ARGS)

micro: build $(VENV)/deps-bench ## micro benches of single operations (PYTEST_ARGS)
	$(BIN)/python -m pytest bench/micro $(PYTEST_ARGS)

instructions: build $(COUNTED) ## instructions of fixed work against those recorded (instructions-record: record anew)
	$(BIN)/python -m bench instructions

instructions-record: build $(COUNTED)
	$(BIN)/python -m bench instructions --record

floor: build/floor ## the floor alone: a plain C epoll pair in the shape of the perf pair, 4 KiB, 32 in flight
	build/floor --perf 4096 --in-flight 32 --seconds 5

lint: build $(VENV)/deps-lint ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

build: $(VENV)/installed ## the virtual environment with the compiled package in it
	@$(BIN)/python setup.py -q build_ext --inplace

clean: ## forget what was compiled, keep the virtual environment
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find ceph_msgr -name '*.so' -delete
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	$(MAKE) -C csrc clean

distclean: clean ## forget the virtual environment too
	rm -rf $(VENV)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; \
	    sys.exit(sys.version_info < (3, 11) and f"ceph_msgr: needs Python 3.11 or newer, $(PYTHON) is {v}")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "ceph_msgr: $(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Requirements are read from pyproject.toml, where they stand once: deps-build are those of the build system, deps-X those
# of the extra X.
$(VENV)/deps-%: pyproject.toml $(VENV)/created
	@echo 'pip install: requirements to $*'
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	    print(*{"build": p["build-system"]["requires"], **p["project"]["optional-dependencies"]}["$*"], sep="\n")' \
	    > $@.txt
	@$(PIP) install -r $@.txt
	@touch $@

# Compiled before pip is called, whose wrapping would bury the one line about a missing compiler; pip only adds the
# commands and takes the modules that lie there.
$(VENV)/installed: pyproject.toml $(VENV)/deps-build
	$(BIN)/python setup.py -q build_ext --inplace
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

build/floor: $(wildcard bench/floor/*.[ch]) $(CORE)
	@mkdir -p build
	$(CC) -O3 -std=c11 -Wall -Wextra -Icsrc/include -o $@ $(filter %.c %.a,$^) -lcrypto

# Whether they have to be made again, their own Makefile knows.
$(CORE) $(COUNTED): FORCE
	@$(MAKE) --no-print-directory -s -C csrc VARIANT=release $(@:csrc/%=%)

FORCE:
