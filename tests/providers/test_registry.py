"""The providers of the settings."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

import chat.providers
from chat.errors import ProviderUnavailable
from chat.providers import Providers
from chat.providers.base import Provider
from chat.providers.demo import DemoProvider
from chat.providers.openai import OpenAIProvider
from tests.providers.conftest import ask, said

DEMO = {"path": "chat.providers.demo.DemoProvider"}


class Listed(Provider):
    """A provider of one's own."""

    def __init__(self, names: tuple[str, ...] = (), broken: bool = False) -> None:
        self.names, self.broken, self.closed = names, broken, 0

    async def stream(self, conversation):
        yield ("end", conversation.answer_id(0))

    async def models(self):
        if self.broken:
            raise ProviderUnavailable
        return list(self.names)

    async def close(self):
        self.closed += 1


def listed(*names: str, **options) -> dict:
    return {"path": f"{__name__}.Listed", "options": {"names": names, **options}}


def test_the_first_one_answers_and_each_has_its_name():
    providers = Providers({"a": listed("x"), "b": listed("y")})
    assert providers.get() is providers.get("a") is not providers.get("b")
    with pytest.raises(KeyError):
        providers.get("c")


def test_a_model_is_asked_for_at_the_provider_that_it_names():
    providers = Providers({"a": listed(), "b": listed()})
    assert providers.choose("") == (providers.get("a"), "")
    assert providers.choose("x") == (providers.get("a"), "x")
    assert providers.choose("b/x") == (providers.get("b"), "x")
    assert providers.choose("meta/llama") == (providers.get("a"), "meta/llama")
    assert providers.choose("b/meta/llama") == (providers.get("b"), "meta/llama")


async def test_the_models_are_listed_as_they_are_asked_for():
    providers = Providers({"a": listed("x", "y"), "b": listed("x")})
    assert await providers.models() == ["x", "y", "b/x"]
    for name in await providers.models():
        provider, model = providers.choose(name)
        assert model in await provider.models()


PANEL = "chat.providers.panel.PanelProvider"
FLOW = "chat.providers.flow.FlowProvider"


def test_a_panel_asks_the_models_of_others_by_the_names_that_users_have_for_them():
    members = {"one": "x", "two": "b/meta/llama"}
    providers = Providers({"a": listed(), "b": listed(), "all": {"path": PANEL, "options": {"members": members}}})
    voices = providers.get("all")._voices
    assert (voices["one"].provider, voices["one"].model) == (providers.get("a"), "x")
    assert (voices["two"].provider, voices["two"].model) == (providers.get("b"), "meta/llama")


async def test_panel_and_flow_are_listed_as_models_behind_those_of_the_first():
    providers = Providers(
        {
            "a": listed("x"),
            "panel": {"path": PANEL, "options": {"members": {"one": "x"}}},
            "review": {"path": FLOW, "options": {"phases": {"draft": ""}}},
        }
    )
    assert await providers.models() == ["x", "panel/all", "review/all"]


@pytest.mark.parametrize(
    "asks",
    [
        {"p": "p/all"},
        {"p": "x"},  # the first provider's, and that is itself
        {"p": "q/all", "q": "p/all"},
    ],
)
def test_a_panel_that_would_ask_itself_in_the_end_is_a_mistake(asks):
    entries = {name: {"path": PANEL, "options": {"members": {"one": model}}} for name, model in asks.items()}
    with pytest.raises(ImproperlyConfigured, match="p asks"):
        Providers(entries | {"a": listed()})


async def test_all_are_closed():
    providers = Providers({"a": listed(), "b": listed()})
    await providers.close()
    assert [providers.get(name).closed for name in "ab"] == [1, 1]


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"a": {}},
        {"a": {"path": "nothing.at.All"}},
        {"a": {"path": "chat.providers.demo.NoSuch"}},
        {"a": {"path": "chat.protocol.Cursor"}},
        {"a": {**DEMO, "options": {"unheard_of": 1}}},
    ],
)
def test_a_mistake_in_the_settings_shows_at_once(entries):
    with pytest.raises(ImproperlyConfigured, match="REJOIN_PROVIDERS"):
        Providers(entries)


@pytest.fixture
def fresh():
    """The process's registry made anew for this test, and again after it."""
    chat.providers.providers.cache_clear()
    yield
    chat.providers.providers.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_without_settings_the_demo_answers():
    assert isinstance(chat.providers.providers().get(), DemoProvider)
    assert chat.providers.providers().get() is chat.providers.providers().get("demo")


@pytest.mark.usefixtures("fresh")
async def test_without_settings_there_are_a_panel_and_a_flow_of_demo_models_to_try():
    assert (await chat.providers.providers().models())[-2:] == ["panel/all", "flow/all"]
    for name, messages in {"panel": 3, "flow": 3}.items():
        parts = await ask(chat.providers.providers().get(name), "why?", model="all", parameters={"rate": 0, "delay": 0})
        texts = {part[1]: said([one for one in parts if one[1] == part[1]]) for part in parts if part[0] == "start"}
        assert len(set(texts.values())) == messages, "each says something else"


@pytest.mark.usefixtures("fresh")
def test_a_base_url_alone_makes_it_a_real_model(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert isinstance(chat.providers.providers().get(), OpenAIProvider)


@pytest.mark.usefixtures("fresh")
def test_the_setting_names_who_answers(settings):
    settings.REJOIN_PROVIDERS = {"a": listed(), "b": DEMO}
    settings.REJOIN_PROVIDER = "b"
    assert isinstance(chat.providers.providers().get(), DemoProvider)
    assert isinstance(chat.providers.providers().get("a"), Listed)
