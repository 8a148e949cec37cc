# make demo | test | lint | types | chaos | bench | bench-fleet | bench-peers | bench-detection | size | wheels | clean
#   PYTHON=python3.12   which Python (3.11-3.14)
#   WHEELS=dir          install from the wheels in dir, without the network (made by: make wheels WHEELS=dir)
#   ARGS="..."          further arguments for the command (demo, test, bench)
PYTHON ?= python3
WHEELS ?=
ARGS ?=
KILLS ?= 200

# All paths are relative, so that the folder's own path may hold spaces.
VENV := .venv
BIN := $(VENV)/bin
# The stamps carry the Python version: another PYTHON makes the environment anew.
PYVER := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
RUNTIME := $(VENV)/.runtime-$(PYVER)
TEST := $(VENV)/.test-$(PYVER)
STUBS := $(VENV)/.stubs-$(PYVER)
PIP = "$(BIN)/python" -m pip --disable-pip-version-check
FROM = $(if $(WHEELS),--no-index --find-links "$(WHEELS)")

.PHONY: demo test lint types chaos bench bench-fleet bench-peers bench-detection size wheels clean check
.DELETE_ON_ERROR:

demo: $(RUNTIME)
	@"$(BIN)/bongsu" demo $(ARGS)

test: $(TEST)
	@"$(BIN)/python" -m pytest -n 2 --dist loadgroup $(ARGS)
	@echo "Once more on PostgreSQL: every test that touches a store"
	@"$(BIN)/python" -m pytest -n 2 --dist loadgroup --engine postgresql $(ARGS)

lint: $(TEST)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

types: $(TEST) $(STUBS)
	@"$(BIN)/mypy"
	@MYPYPATH=tools:host:firmware "$(BIN)/mypy" tools/*.py
	@"$(BIN)/mypy" --config-file mypy-firmware.ini $(addprefix -p ,bongsu_wire $(notdir $(wildcard firmware/bongsu_node)))

chaos: $(TEST)
	@BONGSU_CHAOS_KILLS=$(KILLS) "$(BIN)/python" -m pytest -m chaos --timeout 7200 $(ARGS)

bench: $(TEST)
	@"$(BIN)/python" tools/bench_path.py $(ARGS)

bench-fleet bench-peers bench-detection: $(TEST)
	@"$(BIN)/python" tools/$(subst -,_,$@).py $(ARGS)

size: $(TEST)
	@"$(BIN)/python" tools/size_report.py $(ARGS)

check:
	@sh tools/check_machine.sh "$(PYTHON)"

# A second run installs nothing; a changed pyproject.toml installs again. `check` comes first, whatever is installed.
$(RUNTIME): pyproject.toml | check
	@test -e "$@" || "$(PYTHON)" -m venv --clear "$(VENV)"
	@echo "Installing Bongsu into $(VENV) ..."
	@$(PIP) install --quiet $(FROM) --editable .
	@touch "$@"

$(TEST): $(RUNTIME)
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) install --quiet $(FROM) --editable ".[test]"
	@touch "$@"

$(STUBS): $(TEST)
	@$(PIP) install --quiet $(FROM) --no-deps --upgrade --target "$(VENV)/micropython-stubs" \
		$$("$(BIN)/python" tools/requirements.py stubs)
	@touch "$@"

# Everything that `make demo` and `make test` install, the build backend included, for a machine without the network.
# esptool and some of what it needs come as sources, and are built here.
wheels: | check
	@test -n "$(WHEELS)" || { echo "Say where to: make wheels WHEELS=dir" >&2; exit 2; }
	@"$(PYTHON)" -m venv --clear "$(VENV)/wheels"
	@"$(VENV)/wheels/bin/python" -m pip --disable-pip-version-check wheel --quiet --wheel-dir "$(WHEELS)" \
		$$("$(PYTHON)" tools/requirements.py build runtime test stubs)
	@rm -rf "$(VENV)/wheels"
	@echo "$(WHEELS): $$(ls "$(WHEELS)" | wc -l) wheels"

clean:
	rm -rf "$(VENV)" build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
