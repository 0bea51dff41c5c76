"""Settings of the tests in pytest's own process: the embedded default on SQLite, whatever the environment says.

``REJOIN_TEST_DATABASE_URL`` runs the same tests on another database.
"""

import atexit
import os
import tempfile
from typing import Any

_directory = tempfile.TemporaryDirectory(prefix="rejoin-tests-")
atexit.register(_directory.cleanup)
os.mkdir(f"{_directory.name}/static")  # WhiteNoise warns where it finds none
_database = os.environ.get("REJOIN_TEST_DATABASE_URL", f"sqlite:///{_directory.name}/tests.sqlite3")

_kept = ("DJANGO_SETTINGS_MODULE", "REJOIN_TEST_DATABASE_URL")
_kept += ("REJOIN_REQUIRE", "REJOIN_CASES", "REJOIN_SEEDS", "REJOIN_SHRINK", "REJOIN_WRITE")
# A developer's key must not be spent, nor a developer's servers used.
for _name in list(os.environ):
    if _name.startswith(("DJANGO_", "OPENAI_", "REJOIN_", "REDIS_")) and _name not in _kept:
        del os.environ[_name]
os.environ |= {
    "DJANGO_SECRET_KEY": "only-for-tests",
    "DJANGO_ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
    "DJANGO_HTTPS": "0",
    "REJOIN_DATA_DIR": _directory.name,
    "REJOIN_DATABASE_URL": _database,
}

from chatproject.settings import *  # noqa: E402, F403
from chatproject.settings import DATABASES, STORAGES  # noqa: E402

if _database.startswith("sqlite:"):
    # A file, as in production: SQLite in memory knows no write-ahead log.
    DATABASES["default"]["TEST"] = {"NAME": DATABASES["default"]["NAME"]}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# To pytest's own handlers, which show it when a test fails.
LOGGING: dict[str, Any] = {"version": 1, "disable_existing_loggers": False, "loggers": {"chat": {"level": "DEBUG"}}}
