# All of it works on a machine with git, make and Python 3.11 or newer; what else is needed comes into .venv.

# Given on the command line, as in `make run PORT=8001`. The environment's HOST and PORT mean other things.
HOST = 127.0.0.1
PORT = 8000

BIN = .venv/bin
SETUP = @sh tools/python tools/setup.py
# A file's tests in one process, in the order of the files: the longest come early.
SPREAD = -n 2 --dist loadfile --no-loadscope-reorder
# What only loads the project's code gets a throwaway key and database.
CHECK = DJANGO_SECRET_KEY=check REJOIN_DATABASE_URL=sqlite:///:memory:

.PHONY: run test bench pictures lock clean

run: export REJOIN_DEV := 1
run:
	@sh tools/python tools/check_port.py "$(HOST)" "$(PORT)"
	$(SETUP) run
	@$(BIN)/python manage.py migrate --verbosity 0
	@echo "Rejoin is at http://$(HOST):$(PORT) (Ctrl-C ends it)"
	@exec $(BIN)/daphne -b "$(HOST)" -p "$(PORT)" --websocket-max-message-size 16777216 chatproject.asgi:application

test:
	$(SETUP) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(CHECK) $(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(CHECK) $(BIN)/python manage.py makemigrations --check --dry-run
	$(CHECK) $(BIN)/python manage.py check --fail-level WARNING
	$(BIN)/node --test "tests/js/**/*.test.js"
	$(BIN)/pytest $(SPREAD)

bench:
	$(SETUP) test
	$(BIN)/python -m benchmarks $(ARGS)

pictures:
	$(SETUP) test
	$(BIN)/python -m tests.browser.pictures

# `make lock ARGS=--upgrade` takes the newest versions instead of those that still fit.
lock:
	@sh tools/python tools/lock.py $(ARGS)

# Leaves var/, where `make run` keeps its chats.
clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
