# One word runs everything; each target is a thin line over the `designs` command. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: setup demo test test-thorough test-containers up smoke down lint format lock docs claims soak museum bench-selftest bench-redirect bench-growth bench-limiter clean help

DESIGNS := .venv/bin/designs

setup: ## make .venv from requirements.lock (every other target does it by itself)
	@sh scripts/setup

demo: setup ## run a design and one of its trade-offs, end to end
	@$(DESIGNS) demo

test: setup ## run the tests, some at a time, and the few that fail once more, alone
	@scripts/test

test-thorough: setup ## the property tests alone, with twenty times the examples, other ones each time
	@env -u CI HYPOTHESIS_PROFILE=thorough .venv/bin/python -m pytest -n auto --dist loadfile -m hypothesis

test-containers: setup ## the backends' tests on Redis, Kafka and Cassandra in containers (needs Docker)
	@env -u REDIS_URL -u KAFKA_BOOTSTRAP -u CASSANDRA_HOSTS CI=1 TEST_SERVERS=containers .venv/bin/python -m pytest \
	  tests/url_shortener/backends tests/rate_limiter/backends tests/building_blocks/test_kafka_topics.py tests/building_blocks/test_kafka_group.py

up: setup ## the full stack in Docker: Redis, Kafka, Cassandra and the designs on them: make up [OBSERVE=1] [LOAD=1]
	@$(DESIGNS) up $(if $(OBSERVE),--observe) $(if $(LOAD),--load)

smoke: setup ## try everything that make up started
	@$(DESIGNS) smoke

down: setup ## take away what make up started, data and all: make down [KEEP=1]
	@$(DESIGNS) down $(if $(KEEP),--keep-data)

lint: setup ## style, types and import contracts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## put the code into the house style
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --extra all --generate-hashes pyproject.toml -o requirements.lock --custom-compile-command "make lock"

docs: setup ## regenerate the tables and figures in the documents
	@$(DESIGNS) docs

claims: setup ## measure a design's claims again and record them: make claims D=url_shortener
	@$(DESIGNS) claims $(or $(D),$(error say whose: make claims D=url_shortener))

soak: setup ## check a design under 200 random schedules of faults: make soak [D=url_shortener] [N=200]
	@$(DESIGNS) soak $(or $(D),url_shortener) --schedules $(or $(N),200) --seconds 5 --seed 1

museum: setup ## run the known-bad variants beside the right ones, and see each of them caught
	@$(DESIGNS) museum --run

bench-selftest: setup ## the measuring measured: statistics on a simulated machine, the generator's ceiling, coordinated omission
	@$(DESIGNS) bench selftest

bench-redirect: setup ## what one redirect costs
	@$(DESIGNS) bench redirect

bench-growth: setup ## how costs grow with the number of links
	@$(DESIGNS) bench growth

bench-limiter: setup ## what a rate limiter's decision costs Redis, beside the public Python limiters: make bench-limiter [PEERS=none]
	@$(DESIGNS) bench limiter $(if $(PEERS),--peers $(PEERS))

clean: ## remove caches and builds; .venv, results/ and data/ stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find designs loadtests workbench tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
