"""Django settings, all from the environment.

With nothing set this is a production configuration that refuses to start without a secret key. ``REJOIN_DEV=1`` (what
``make run`` sets) gives the local defaults: a key kept beside the database, DEBUG, guests, the loopback hosts.
What Rejoin itself reads (``REJOIN_…``) is documented in chat/conf.py and docs/settings.md.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from whitenoise.compress import Compressor

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """The variable; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def env_flag(name: str, default: bool = False) -> bool:
    return env(name, "1" if default else "0").lower() in ("1", "true", "yes", "on")


def env_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


DEV = env_flag("REJOIN_DEV")
DATA_DIR = Path(env("REJOIN_DATA_DIR") or BASE_DIR / "var")


def local_secret() -> str:
    """A secret key of this machine's own, made once: sessions survive a restart of the development server."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    path = DATA_DIR / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text()


SECRET_KEY = env("DJANGO_SECRET_KEY") or (local_secret() if DEV else "")
DEBUG = env_flag("DJANGO_DEBUG", DEV)
ALLOWED_HOSTS = env_list("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if DEV else "")
CSRF_TRUSTED_ORIGINS = env_list("DJANGO_CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "daphne",  # before staticfiles: its runserver serves websockets
    "chat",  # before channels: its runworker is the hardened one
    "channels",
    "ninja",  # the files of /api/docs
    "whitenoise.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "chat.middleware.StaticFiles",
    "chat.middleware.Compression",  # pages and the API's JSON; static files are compressed beforehand
    "chat.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "chatproject.urls"
ASGI_APPLICATION = "chatproject.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ------------------------------------------------------------------------------------------------------- database


def database(url: str) -> dict[str, Any]:
    """Django's database dict of a URL: postgresql://user:password@host:port/name or sqlite:///path."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]),
            "CONN_MAX_AGE": None,
            # Write-ahead log, and the write lock taken at once: measured, no "database is locked" with 4 processes.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
            "CONN_MAX_AGE": 0,  # the pool keeps the connections
            "CONN_HEALTH_CHECKS": True,  # and may have kept them over a restart of the server
            "OPTIONS": {
                "pool": {"min_size": 1, "max_size": 16, "timeout": 10},
                # Who stalls in the middle of a transaction, or whose machine is gone, does not keep its locks.
                "options": "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s",
                **dict(parse_qsl(parts.query)),
            },
        }
    raise ImproperlyConfigured("REJOIN_DATABASE_URL must begin with postgresql:// or sqlite:///.")


if not env("REJOIN_DATABASE_URL"):
    DATA_DIR.mkdir(parents=True, exist_ok=True)
DATABASES = {"default": database(env("REJOIN_DATABASE_URL") or f"sqlite:///{DATA_DIR / 'rejoin.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --------------------------------------------------------------------------------------- what is live (see chat/conf)

REDIS_URL = env("REDIS_URL")
if REDIS_URL:
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {
            "BACKEND": env("REJOIN_CHANNEL_LAYER") or "chat.live.layer.BatchedPubSubLayer",
            # The stock core layer waits for messages longer than redis-py's own limit on an answer.
            "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 15}]},
        }
    }
    if not env("REJOIN_CHANNEL_LAYER"):
        CHANNEL_LAYERS["default"]["CONFIG"] = {
            "hosts": [REDIS_URL],
            "timeout": float(env("REJOIN_REDIS_TIMEOUT", "5")),
        }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 100_000}}}

# ------------------------------------------------------------------------------------------------ pages and sessions

NODE_MODULES = Path(env("REJOIN_NODE_MODULES") or BASE_DIR / "node_modules")
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "chat.modules.PackageFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
# Nobody else's pages have a use for our files.
WHITENOISE_ALLOW_ALL_ORIGINS = False
# Source maps, which only a developer's tools fetch, would take longest of all.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat"
LOGOUT_REDIRECT_URL = "chat"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
        "UserAttributeSimilarityValidator",
    )
]
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 60 * 60 * 24 * 90
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
HTTPS = env_flag("DJANGO_HTTPS", not DEV)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_flag("DJANGO_BEHIND_PROXY") else None
USE_TZ = True
TIME_ZONE = "UTC"
# The page speaks the one of these that the browser asks for; see CONTRIBUTING.md for how to add one.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [str(BASE_DIR / "locale")]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "chat": {"handlers": ["console"], "level": env("REJOIN_LOG_LEVEL", "INFO"), "propagate": False},
        # Django's own configuration says nothing of a failed request when DEBUG is off.
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}
