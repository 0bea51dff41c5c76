"""The system checks: each mistake has its id, and a sound configuration has none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from chat.checks import check
from chat.conf import SETTINGS

SEPARATE = {
    "REDIS_URL": "redis://127.0.0.1:1",
    "CHANNEL_LAYERS": {"default": {"BACKEND": "chat.live.layer.BatchedPubSubLayer", "CONFIG": {"hosts": []}}},
}
CORE = "channels_redis.core.RedisChannelLayer"
KEY = {"openai": {"path": "chat.providers.openai.OpenAIProvider", "options": {"api_key": "k", "base_url": "http://x"}}}
NO_KEY = {"openai": {"path": "chat.providers.openai.OpenAIProvider", "options": {"base_url": "http://x"}}}
DEMO = {"demo": {"path": "chat.providers.demo.DemoProvider"}}


def ids(**settings: Any) -> list[str | None]:
    with override_settings(**settings):
        return [message.id for message in check(None)]


def core_layer(*hosts: object) -> dict[str, Any]:
    return SEPARATE | {"CHANNEL_LAYERS": {"default": {"BACKEND": CORE, "CONFIG": {"hosts": list(hosts)}}}}


def with_apps(*names: str) -> list[str]:
    return [*names, *(name for name in django_settings.INSTALLED_APPS if name not in names)]


def test_a_shared_database_without_redis_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(django_settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert ids() == ["rejoin.W003"]


@pytest.mark.parametrize("settings", [{}, SEPARATE], ids=["embedded", "separate"])
def test_the_defaults_are_sound(settings: dict[str, Any]) -> None:
    assert ids(**settings) == []


@pytest.mark.parametrize("name", ["DATA_DIR", "NODE_MODULES", "REDIS_URL"])
def test_a_setting_that_a_project_of_ones_own_lacks_is_named(name: str, settings: Any) -> None:
    delattr(settings, name)
    [message] = check(None)
    assert (message.id, name in message.msg) == ("rejoin.E009", True)


NUMBERS = [name for name, setting in SETTINGS.items() if type(setting.default) in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, "5", True, None, float("nan")])
def test_a_number_that_is_none_or_negative_is_an_error_that_names_its_setting(name: str, value: object) -> None:
    with override_settings(**{f"REJOIN_{name}": value}):
        [message] = check(None)
    assert message.id == "rejoin.E001"
    assert message.msg.startswith(f"REJOIN_{name} is {value!r}, and has to be ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE", 0),
        ("ATTEMPTS", 1.5),
        ("MAX_MESSAGE", 70_000),
        ("GUESTS", "yes"),
        ("EMBEDDED", 1),
        ("MODELS", "gpt"),
        ("MODELS", [1]),
        ("PROVIDERS", []),
        ("PROVIDER", None),
    ],
)
def test_a_value_of_the_wrong_kind_or_out_of_range_is_an_error(name: str, value: object) -> None:
    with override_settings(**{f"REJOIN_{name}": value}):
        [message] = check(None)
    assert message.id == "rejoin.E001"
    assert f"REJOIN_{name} " in message.msg


def test_a_wrong_environment_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOIN_SWEEP", "soon")
    [message] = check(None)
    assert message.id == "rejoin.E001"
    assert "REJOIN_SWEEP" in message.msg


@pytest.mark.parametrize("name", ["DRAIN", "LOG_TAIL", "LOG_LINGER"])
def test_zero_is_fine_where_it_means_at_once(name: str) -> None:
    assert ids(**{f"REJOIN_{name}": 0}) == []


@pytest.mark.parametrize(
    "times", [{"RENEW": 8.0}, {"LEASE": 7.0}, {"REDIS_TIMEOUT": 11.0}, {"LEASE": 9, "RENEW": 4, "REDIS_TIMEOUT": 5}]
)
def test_a_lease_that_one_failed_renewal_would_lose_is_an_error(times: dict[str, float]) -> None:
    assert ids(**{f"REJOIN_{name}": value for name, value in times.items()}) == ["rejoin.E002"]


def test_a_buffer_that_a_checkpoint_does_not_fit_is_an_error() -> None:
    assert ids(REJOIN_RUN_BUFFER=100_000) == ["rejoin.E003"]


def test_channels_before_chat_is_an_error() -> None:
    assert ids(INSTALLED_APPS=with_apps("channels", "chat")) == ["rejoin.E004"]


def test_staticfiles_before_daphne_is_an_error_of_daphnes_own() -> None:
    # Daphne registers its check when it is loaded, so this needs a process of its own.
    code = (
        "import tests.settings as s; s.INSTALLED_APPS.remove('daphne'); s.INSTALLED_APPS.append('daphne');"
        "import django; django.setup();"
        "from django.core.checks import run_checks; print(*(message.id for message in run_checks()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["daphne.E001"], done.stderr


def test_several_processes_without_redis_are_errors() -> None:
    assert ids(REJOIN_EMBEDDED=False) == ["rejoin.E005", "rejoin.E006"]


def test_a_layer_in_memory_with_redis_is_an_error() -> None:
    assert ids(REDIS_URL="redis://127.0.0.1:1") == ["rejoin.E006"]
    assert ids(REDIS_URL="redis://127.0.0.1:1", CHANNEL_LAYERS={}) == ["rejoin.E006"]


@pytest.mark.parametrize("path", ["chat.nothing.here", "chat.conf.nothing", "chat.conf.SETTINGS", "nothing"])
def test_a_hook_that_is_no_function_is_an_error(path: str) -> None:
    assert ids(REJOIN_ON_RUN_END=path) == ["rejoin.E007"]


def test_a_hook_that_can_be_imported_is_fine() -> None:
    assert ids(REJOIN_ON_RUN_END="chat.conf.embedded") == []


@pytest.mark.parametrize(
    "providers",
    [
        {"mine": {"path": "chat.nothing.Here"}},
        {"mine": {"path": "chat.conf.Setting", "options": {"default": 1, "unit": "", "why": ""}}},
        {"mine": {"path": "chat.providers.demo.DemoProvider", "options": {"no": "option"}}},
        {"mine": "chat.providers.demo.DemoProvider"},
    ],
)
def test_a_provider_that_cant_be_made_is_an_error(providers: dict[str, Any]) -> None:
    assert ids(REJOIN_PROVIDERS=providers) == ["rejoin.E008"]


def test_a_default_provider_that_is_not_there_is_an_error() -> None:
    assert ids(REJOIN_PROVIDER="other") == ["rejoin.E008"]


def test_guests_who_may_spend_a_keys_money_are_a_warning() -> None:
    assert ids(REJOIN_GUESTS=True, REJOIN_PROVIDERS=KEY) == ["rejoin.W001"]


def test_a_key_in_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(REJOIN_GUESTS=True) == []
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert ids(REJOIN_GUESTS=True) == ["rejoin.W001"]
    assert ids(REJOIN_GUESTS=True, REJOIN_PROVIDERS=NO_KEY) == [], "another server does not get that key"


def test_a_panel_of_models_that_a_key_pays_for_costs_what_they_cost() -> None:
    panel = {"panel": {"path": "chat.providers.panel.PanelProvider", "options": {"members": {"one": "x/x"}}}}
    assert ids(REJOIN_GUESTS=True, REJOIN_PROVIDERS={**NO_KEY, **panel}) == []
    assert ids(REJOIN_GUESTS=True, REJOIN_PROVIDERS={**KEY, **panel}) == ["rejoin.W001"]


@pytest.mark.parametrize("providers", [DEMO, NO_KEY], ids=["demo", "no key"])
def test_guests_who_cost_nothing_are_fine(providers: dict[str, Any]) -> None:
    assert ids(REJOIN_GUESTS=True, REJOIN_PROVIDERS=providers) == []


def test_a_key_without_guests_is_fine() -> None:
    assert ids(REJOIN_PROVIDERS=KEY) == []
    assert ids(REJOIN_PROVIDERS=KEY, REJOIN_GUESTS=True, DEBUG=True) == []


@pytest.mark.parametrize("host", ["redis://x", ("x", 6379), {"address": "redis://x"}, {"socket_timeout": 5}])
def test_the_core_layer_whose_receive_ends_when_idle_is_a_warning(host: object) -> None:
    assert ids(**core_layer({"socket_timeout": 30}, host)) == ["rejoin.W002"]


@pytest.mark.parametrize("timeout", [30, None])
def test_the_core_layer_with_a_longer_socket_timeout_is_fine(timeout: float | None) -> None:
    assert ids(**core_layer({"address": "redis://x", "socket_timeout": timeout})) == []


def test_the_core_layer_without_hosts_is_a_warning() -> None:
    assert ids(**core_layer()) == ["rejoin.W002"]
