# `make help` says what there is to make.

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# The environments, one set for each minor version of Python. The emulator, the SAM CLI and checkov each pin another
# botocore than the functions use, so they cannot share one.
ENVIRONMENTS := .venv/$(VERSION)
DEV := $(ENVIRONMENTS)/dev
EMULATOR := $(ENVIRONMENTS)/emulator
SAM := $(ENVIRONMENTS)/sam
CHECKOV := $(ENVIRONMENTS)/checkov
UV := $(ENVIRONMENTS)/uv
BENCH := $(ENVIRONMENTS)/bench
CLI := $(ENVIRONMENTS)/cli
INSTALLED := installed.txt

CHECKED := src call_recorder_cli local tests benchmarks
TEMPLATES := template.yaml $(wildcard examples/*/template.yaml)
COMPILE := $(UV)/bin/uv pip compile --quiet --universal --generate-hashes --no-strip-extras \
	--python-version 3.11 --no-header $(if $(UPGRADE),--upgrade)

# Nothing here may reach a real AWS account by what this shell is set to, except the commands of an operator; and it
# may tell checkov neither of its vendor nor to look away.
OPERATED := test-call
ifneq ($(or $(filter-out $(OPERATED),$(MAKECMDGOALS)),$(if $(MAKECMDGOALS),,help)),)
unexport $(filter-out AWS_PORT,$(filter AWS_% BC_% CKV_% PRISMA_%,$(.VARIABLES)))
export AWS_CONFIG_FILE := /dev/null
export AWS_SHARED_CREDENTIALS_FILE := /dev/null
endif
# Nor may a proxy stand between two processes of this machine.
export no_proxy := $(NO_PROXY),$(no_proxy),127.0.0.1,localhost
export NO_PROXY := $(no_proxy)
export SAM_CLI_TELEMETRY := 0
export PYTHONPATH := src

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help flows
help: ## Show this list
	@echo "  try      make run                     plays one recorded call on a local AWS and stays up; ONCE=1 ends after it"
	@echo "  call     make call TO=username:alice  plays one more call; FLOW=menu plays one of \`make flows\`"
	@echo "  explain  make explain PROFILE=file    says what a profile does to calls, or with TO=... FROM=... to one of them"
	@echo "  deploy   sam build && sam deploy      deploys to your AWS account; README.md has the steps"
	@echo "  find     docs/runbook.md              says how to find recordings, and what to do when an alarm goes off"
	@echo "  test     make test                    runs every check"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "AWS_PORT=4600 chooses the port of the local AWS, PYTHON=python3.13 another Python (3.11 or newer)."

flows: ## List the calls that FLOW can play
	@echo "Without FLOW, \`make run\` and \`make call\` play in-app. FLOW is one of these:"
	@awk -F '"' '/^        name="/ { name = $$2 } /^        about="[^"]/ { printf "  %-24s %s\n", name, $$2 }' local/flows.py

# What a user types goes by the environment, where the shell takes no quote or space in it for its own.
export PROFILE EVENT FROM TO FLOW FIRST_MENU STACK APP DAY STATUS

# The call to play: a flow, or a destination. FIRST_MENU=main or mainMenu says which menu Sinch plays first.
PLAYED = $(if $(FLOW),--flow "$$FLOW") $(if $(TO),--to "$$TO") $(if $(FIRST_MENU),--first-menu "$$FIRST_MENU")

.PHONY: run call explain sam-local events schemas
run: environments ## Deploy to a local AWS, play one call, stay up until Ctrl-C
	@exec $(DEV)/bin/python -m local run $(if $(ONCE),--once) $(PLAYED)

call: $(DEV)/$(INSTALLED) ## Play one more call against what `make run` keeps up; FLOW=menu or TO=username:alice
	@exec $(DEV)/bin/python -m local call $(PLAYED)

explain: $(DEV)/$(INSTALLED) ## Say what a profile does to calls; PROFILE=file, and FROM=... TO=... or EVENT=file
	@test -n "$$PROFILE" || { echo "Name the file of a recording profile, for example" \
		"\`make explain PROFILE=examples/profiles/quick-start.json\`." >&2; exit 2; }
	@exec $(DEV)/bin/python -m call_recorder_cli explain "$$PROFILE" $(if $(EVENT),"$$EVENT") $(if $(FROM),--from "$$FROM") \
		$(if $(TO),--to "$$TO")

sam-local: environments ## Invoke events/ with `sam local` (needs Docker)
	@SAM="$(CURDIR)/$(SAM)/bin/sam" PYTHON="$(CURDIR)/$(DEV)/bin/python" local/sam_local.sh

events: $(DEV)/$(INSTALLED) ## Sign the events of events/ afresh, into .local/events; TRACKED=1 writes events/ itself
	@$(DEV)/bin/python -m local.sample_events $(if $(TRACKED),--tracked)

schemas: $(DEV)/$(INSTALLED) ## Generate schemas/ afresh
	@$(DEV)/bin/python -m local.schemas

.PHONY: cli test-call
cli: python ## Install the command line call-recorder into this clone; eval "$(make cli)" puts it on the PATH
	@$(MAKE) --silent --no-print-directory $(CLI)/$(INSTALLED) >&2
	@$(CLI)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
		--force-reinstall .
	@echo "export PATH=\"$(CURDIR)/$(CLI)/bin:\$$PATH\""

test-call: $(DEV)/$(INSTALLED) ## Play a signed call against a deployed stack and show its recording; APP=key STACK=name
	@test -n "$$APP" || { echo "Name the key of a Sinch application: make test-call APP=your-sinch-application-key." >&2; \
		exit 2; }
	@exec $(DEV)/bin/python -m local.test_call --application-key "$$APP" $(if $(STACK),--stack "$$STACK") \
		$(if $(TO),--to "$$TO") $(if $(FROM),--from "$$FROM")

# What `make test` runs, in this order, two at a time on two processors: those that take longest begin first.
CHECKS := lint integration types unit faults-in-short template template-lint contract

.PHONY: test lint types template-lint unit coverage template contract integration integration-long faults fmt
test: environments $(CHECKOV)/$(INSTALLED) ## Run every check but the long ones, which `make faults` runs
	@echo "Left to \`make faults\`: coverage of the unit tests, the long integration tests, the whole fault matrix, a load run."
	@$(PYTHON) -m local.checks $(CHECKS)

lint: $(DEV)/$(INSTALLED) ## ruff: style, likely bugs, format
	@$(DEV)/bin/python -m ruff check
	@$(DEV)/bin/python -m ruff format --check

types: $(DEV)/$(INSTALLED) ## mypy, strict
	@$(DEV)/bin/python -m mypy

# checkov has no findings in a template that it cannot read, so what it says is read too.
template-lint: $(DEV)/$(INSTALLED) $(SAM)/$(INSTALLED) $(CHECKOV)/$(INSTALLED) ## cfn-lint, sam validate --lint, checkov
	@$(DEV)/bin/cfn-lint --append-rules cfn_lint_serverless.rules --template $(TEMPLATES)
	@$(SAM)/bin/python -m samcli validate --lint --template-file template.yaml --region us-east-1
	@$(CHECKOV)/bin/python -m checkov.main --framework cloudformation --skip-download --compact --quiet \
		--file $(TEMPLATES) >$(CHECKOV)/findings.log 2>&1 && ! grep --quiet 'Parsing errors' $(CHECKOV)/findings.log || { \
		cat $(CHECKOV)/findings.log; exit 1; }

# How many processes the quick tests use: `make test` sets it.
WORKERS ?= auto

unit: $(DEV)/$(INSTALLED) ## Unit tests, without any network
	@$(DEV)/bin/python -m pytest --quiet --numprocesses=$(WORKERS) tests/unit

coverage: $(DEV)/$(INSTALLED) ## The unit tests, slower, and whether they cover 90 % of the functions' branches
	@$(DEV)/bin/python -m pytest --quiet --numprocesses=auto --cov --cov-fail-under=90 tests/unit

contract: $(DEV)/$(INSTALLED) ## Contract tests: what goes to Sinch and to subscribers, and comes from them
	@$(DEV)/bin/python -m pytest --quiet --numprocesses=$(WORKERS) tests/contract

template: $(DEV)/$(INSTALLED) ## Tests of what the template promises and the emulator does not enforce
	@$(DEV)/bin/python -m pytest --quiet tests/template

integration: environments ## Calls through the real template, deployed on the emulator
	@$(DEV)/bin/python -m pytest --quiet -m "not long" tests/integration

integration-long: environments
	@$(DEV)/bin/python -m pytest --quiet -m long tests/integration

.PHONY: faults-in-short
faults-in-short: environments
	@$(DEV)/bin/python -m pytest --quiet tests/faults

# Not side by side: the load run measures how fast the answers are.
faults: environments ## All that takes longer: coverage, long integration tests, whole fault matrix, 100,000 hostile inputs
	@for check in coverage integration-long; do \
		echo "== $$check"; \
		$(MAKE) --no-print-directory $$check || exit 1; \
	done
	@echo "== faults"
	@FAULTS=full $(DEV)/bin/python -m pytest --quiet tests/faults tests/unit/cli/custody/test_erase_faults.py

# The hostile inputs need no emulator and come several at a time; the matrix forks processes, which one with threads
# of its own should not.
ON_DYNAMODB_LOCAL = $(DEV)/bin/python -m local.dynamodb_local && export FAULTS_TABLES=dynamodb-local && \
	$(DEV)/bin/python -m pytest --quiet --numprocesses=auto --maxprocesses=4 \
		tests/faults/test_dynamodb_local.py tests/faults/test_hostile_input.py && \
	$(DEV)/bin/python -m pytest --quiet tests/faults/test_matrix.py

.PHONY: dynamodb-local dynamodb-local-in-short
dynamodb-local-in-short: environments
	@$(ON_DYNAMODB_LOCAL)

dynamodb-local: environments ## The fault matrix and 100,000 hostile inputs on Amazon's DynamoDB Local; needs npm and Java
	@export FAULTS=full && $(ON_DYNAMODB_LOCAL)

# A day at internet scale in virtual time: local/scale/__main__.py reads these variables.
export RATE SAMPLE SHARDS SEED HOURS SLOW DEFAULTS WITH

.PHONY: scale
scale: $(DEV)/$(INSTALLED) ## Simulate a day of calls against AWS's quotas; RATE=1000 SHARDS=1 SLOW=sqs DEFAULTS=1 SAMPLE=8000
	@exec $(DEV)/bin/python -m local.scale

.PHONY: bench
bench: $(BENCH)/$(INSTALLED) $(SAM)/$(INSTALLED) ## Measure the functions beside their twins; ROUNDS=5 for a quick look
	@exec $(BENCH)/bin/python -m benchmarks $(if $(ROUNDS),--rounds '$(ROUNDS)')

# What the variables mean, and their defaults: docs/scaling.md.
export CALLS MINUTES KIND RECORDED ANSWERED TRANSCRIPTION WINDOW UNRECORDED XRAY MEMORY RETENTION
export CALLBACK_CPU_MS FACT_CPU_MS AWS_CALL_MS INSTANCES WRITE

.PHONY: cost
cost: $(DEV)/$(INSTALLED) ## Compute what a month of calls costs; CALLS=1000000 MINUTES=3, WRITE=1 for docs/scaling.md
	@exec $(DEV)/bin/python -m local.cost

export SHORT FACTS CALLBACKS

.PHONY: soak
soak: $(DEV)/$(INSTALLED) ## Pass a million facts and 100,000 callbacks through the functions: nothing may grow; SHORT=1
	@exec $(DEV)/bin/python -m local.soak

fmt: $(DEV)/$(INSTALLED) ## Format, and mend what ruff can mend
	@$(DEV)/bin/python -m ruff check --fix-only --quiet
	@$(DEV)/bin/python -m ruff format

.PHONY: environments requirements clean python
environments: python
	@$(MAKE) --silent --no-print-directory --jobs=3 $(DEV)/$(INSTALLED) $(EMULATOR)/$(INSTALLED) $(SAM)/$(INSTALLED)

$(ENVIRONMENTS)/%/$(INSTALLED): requirements/%.txt | python
	@exec $(PYTHON) -m local.environment $*

python:
	@test -n "$(VERSION)" || { \
		echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is Python $(VERSION), and 3.11 or newer is needed: name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: install its venv module (on Debian: python$(VERSION)-venv)."; exit 1; }

requirements: $(UV)/$(INSTALLED) ## Compile the requirements again; UPGRADE=1 takes newer versions
	@$(COMPILE) src/requirements.in --output-file src/requirements.txt
	@for name in requirements/dev requirements/emulator requirements/sam requirements/checkov requirements/uv \
		requirements/bench requirements/cli benchmarks/twins/requirements; do \
		$(COMPILE) $$name.in --output-file $$name.txt || exit 1; \
	done

clean: ## Remove environments, caches and build results
	rm -rf .venv .aws-sam .local .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(CHECKED) -type d -name __pycache__ -prune -exec rm -rf {} +
