"""System checks: mistakes in the settings that would otherwise show late, or as something else.

Run by ``manage.py check``, ``migrate`` and ``runworker``. docs/settings.md lists them by id.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from chat import conf, modules
from chat.conf import SETTINGS, Setting
from chat.protocol import MAX_FRAME
from chat.providers import Providers

NEEDED = ("DATA_DIR", "NODE_MODULES", "REDIS_URL")
"""Settings that neither Django nor the defaults have. A project of one's own may lack them."""
ZERO_IS_FINE = ("DRAIN", "LOG_TAIL", "LOG_LINGER")
"""All other numbers have to be above zero."""
MOST = {"MAX_MESSAGE": MAX_FRAME - 1024}
"""What is longer does not fit a frame."""
IDLE_RECEIVE = 5.0
"""Seconds for which channels_redis' core layer waits in one call."""


@register("rejoin")
def check(app_configs: object, **kwargs: object) -> list[CheckMessage]:
    """All checks. Where a value is wrong in itself, nothing else is said."""
    wrong = [*_needed(), *_values()]
    return wrong or [*_order(), *_together(), *_processes(), *_hook(), *_providers(), *_idle_receive(), *_packages()]


# --------------------------------------------------------------------------------------------------------- values


def _needed() -> Iterator[CheckMessage]:
    for name in NEEDED:
        if not hasattr(settings, name):
            yield Error(f"The settings have no {name}.", hint="docs/embedding.md says what it is.", id="rejoin.E009")


def _values() -> Iterator[CheckMessage]:
    for name, setting in SETTINGS.items():
        try:
            value = getattr(conf, name)
        except ImproperlyConfigured as error:
            yield Error(str(error), id="rejoin.E001")
            continue
        wanted = _wanted(name, setting, value)
        if wanted:
            yield Error(f"REJOIN_{name} is {value!r}, and has to be {wanted}.", id="rejoin.E001")


def _wanted(name: str, setting: Setting, value: Any) -> str:
    """What the value should be; "" if it is."""
    default = setting.default
    if default is None:
        return "" if value is None or isinstance(value, bool) else "True, False or None"
    if isinstance(default, list):
        fine = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return "" if fine else "a list of names"
    if isinstance(default, bool | str | dict):
        return "" if isinstance(value, type(default)) else _WORDS[type(default)]
    least, most = 0 if name in ZERO_IS_FINE else math.nextafter(0, 1), MOST.get(name, math.inf)
    if isinstance(value, int | type(default)) and not isinstance(value, bool) and least <= value <= most:
        return ""
    number = "a whole number" if isinstance(default, int) else "a number"
    limits = "of 0 or more" if name in ZERO_IS_FINE else "above 0"
    limits += f" and at most {most}" if name in MOST else ""
    return f"{number} {limits}" + (f" ({setting.unit})" if setting.unit else "")


_WORDS: dict[type, str] = {bool: "True or False", str: "a text", dict: "a dict"}


def _together() -> Iterator[CheckMessage]:
    if conf.LEASE < 2 * conf.RENEW or conf.LEASE <= conf.RENEW + conf.REDIS_TIMEOUT:
        yield Error(
            "REJOIN_LEASE is too short: one renewal that fails, or waits for Redis, would lose every run.",
            hint="Make it at least twice REJOIN_RENEW, and more than REJOIN_RENEW and REJOIN_REDIS_TIMEOUT together.",
            id="rejoin.E002",
        )
    if conf.RUN_BUFFER < 2 * conf.CHECKPOINT_BYTES:
        yield Error(
            "REJOIN_RUN_BUFFER is less than twice REJOIN_CHECKPOINT_BYTES: workers stop reading the model before a "
            "checkpoint makes room.",
            id="rejoin.E003",
        )


# ---------------------------------------------------------------------------------------------------------- parts


def _order() -> Iterator[CheckMessage]:
    names = [app.name for app in apps.get_app_configs()]
    if "channels" in names and names.index("channels") < names.index("chat"):
        yield Error(
            "INSTALLED_APPS has channels before chat: manage.py runworker would be that of Channels, which generates "
            "nothing.",
            hint="Put chat before channels.",
            id="rejoin.E004",
        )


def _processes() -> Iterator[CheckMessage]:
    if conf.embedded():
        if "sqlite" not in settings.DATABASES["default"]["ENGINE"]:
            yield Warning(
                "Run log and worker live inside the web process, but several processes may share the database.",
                hint="Set REDIS_URL, unless this process stays the only one: others would not see what is live.",
                id="rejoin.W003",
            )
        return
    if not settings.REDIS_URL:
        yield Error(
            "REJOIN_EMBEDDED is off, and there is no REDIS_URL: processes have nothing to meet at.",
            hint="Set REDIS_URL, or leave REJOIN_EMBEDDED alone.",
            id="rejoin.E005",
        )
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND", "")
    if layer in ("", "channels.layers.InMemoryChannelLayer"):
        yield Error(
            "The channel layer does not leave the process: web processes would not hear the workers.",
            hint="Use chat.live.layer.BatchedPubSubLayer as the default of CHANNEL_LAYERS.",
            id="rejoin.E006",
        )


def _hook() -> Iterator[CheckMessage]:
    path = conf.ON_RUN_END
    if not path:
        return
    try:
        fine = callable(import_string(path))
    except ImportError:
        fine = False
    if not fine:
        yield Error(f"REJOIN_ON_RUN_END: {path!r} is not a function that can be imported.", id="rejoin.E007")


def _providers() -> Iterator[CheckMessage]:
    try:
        entries = conf.providers()
        Providers(entries)
    except Exception as error:  # whatever somebody's own provider raises
        yield Error(f"The providers can't be made: {error}", id="rejoin.E008")
        return
    if conf.GUESTS and not settings.DEBUG and any(map(_costs, entries.values())):
        yield Warning(
            "Guests may use a model that is paid for with your key.",
            hint="Unset REJOIN_GUESTS, or silence this when it is what you want (SILENCED_SYSTEM_CHECKS).",
            id="rejoin.W001",
        )


def _costs(entry: Mapping[str, Any]) -> bool:
    """Whether a stranger's question may cost something: not the demo, nor a server that wants no key. A panel or a flow
    costs what those cost whom it asks, and they have entries of their own."""
    options = entry.get("options", {})
    if entry["path"].startswith("chat.providers.openai."):
        variable = options.get("api_key_env") or ("" if options.get("base_url") else "OPENAI_API_KEY")
        return bool(options.get("api_key") or os.environ.get(variable))
    return not entry["path"].startswith(("chat.providers.demo.", "chat.providers.panel.", "chat.providers.flow."))


def _idle_receive() -> Iterator[CheckMessage]:
    for name, layer in getattr(settings, "CHANNEL_LAYERS", {}).items():
        hosts: Sequence[Any] = layer.get("CONFIG", {}).get("hosts") or [""]
        if (
            layer["BACKEND"] == "channels_redis.core.RedisChannelLayer"
            and redis.VERSION[0] >= 8
            and not all(map(_waits_long_enough, hosts))
        ):
            yield Warning(
                f"CHANNEL_LAYERS: redis-py {redis.__version__} ends each receive of {name!r} that was idle for 5 s.",
                hint='Write its hosts as {"address": url, "socket_timeout": 30}, or use '
                "chat.live.layer.BatchedPubSubLayer.",
                id="rejoin.W002",
            )


def _packages() -> Iterator[CheckMessage]:
    if names := modules.missing():
        yield Warning(
            f"The page's packages are not there ({', '.join(names)}): it shows answers as plain text while they grow.",
            hint="npm ci --ignore-scripts, or say in REJOIN_NODE_MODULES where they are.",
            id="rejoin.W004",
        )


def _waits_long_enough(host: Any) -> bool:
    timeout = host.get("socket_timeout", 0) if isinstance(host, Mapping) else 0
    return timeout is None or timeout > IDLE_RECEIVE
