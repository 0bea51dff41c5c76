"""The docs tell what is there, and all of it: what a reference page names exists, and the other way round."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import re
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.core.management import call_command

from chat import actions, conf, errors, frames, protocol
from chat.process import Process
from chat.providers import Providers
from chat.providers.base import Conversation, Turn
from chat.providers.demo import DemoProvider
from chat.providers.flow import FlowProvider
from chat.providers.openai import OpenAIProvider
from chat.providers.panel import PanelProvider
from chat.routing import websockets
from tests.servers.embedded import blocks
from tests.unit.caller import everything
from tests.unit.chats import Chat
from tests.unit.streams import cookie_of

ROOT = Path(settings.BASE_DIR)
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
SOURCES = sorted((ROOT / "chat").rglob("*.py"))
SERVER = [path for path in SOURCES if ROOT / "chat" / "client" not in path.parents]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(page: str, title: str) -> str:
    """The section of that title, with what is below it."""
    found = re.search(rf"^(#+) {re.escape(title)}$", page, re.MULTILINE)
    assert found, f"there is no section {title!r}"
    rest = page[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(part: str) -> list[list[str]]:
    """The cells of all tables of a text, without their heads."""
    found = []
    lines = part.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
            if set(line) <= set("|- "):
                del found[-2:]
            assert before.strip() == "" or before.startswith("|"), f"a table needs an empty line before it: {line}"
    return found


def names(cell: str) -> list[str]:
    """What stands in backticks, without what follows in brackets."""
    return re.findall(r"`([^`]+)`", cell)


def column(part: str, at: int = 0) -> list[str]:
    return [name for row in rows(part) for name in names(row[at])]


PROTOCOL = text("docs/protocol.md")
SETTINGS = text("docs/settings.md")
COMMANDS = section(PROTOCOL, "Commands").split("### Queue")[0]


# ---------------------------------------------------------------------------------------------------------- protocol


def test_the_published_schema_is_that_of_the_code() -> None:
    out = io.StringIO()
    call_command("protocol_schema", stdout=out)
    assert text("docs/protocol.schema.json") == out.getvalue(), "manage.py protocol_schema > docs/protocol.schema.json"
    assert json.loads(out.getvalue()) == frames.json_schema()


DEFINITIONS: dict[str, Any] = frames.json_schema()["$defs"]


def test_every_frame_row_and_field_of_the_schema_is_described() -> None:
    for title, definition in DEFINITIONS.items():
        assert definition.get("description") or "anyOf" in definition, title
        for name, field in definition.get("properties", {}).items():
            assert field.get("description"), (title, name)


def fields(definition: dict[str, Any], without: set[str] = frozenset({"type"})) -> set[str]:  # type: ignore[assignment]
    """The fields of a frame or row, with a ``?`` after one that may be missing."""
    required = definition["required"]
    return {name + ("" if name in required else "?") for name in definition["properties"] if name not in without}


def by_type(union: str) -> dict[str, dict[str, Any]]:
    """The frames of a union, by their type."""
    definitions = [DEFINITIONS[option["$ref"].rpartition("/")[2]] for option in DEFINITIONS[union]["anyOf"]]
    return {definition["properties"]["type"]["const"]: definition for definition in definitions}


def documented(part: str) -> dict[str, set[str]]:
    return {names(row[0])[0]: set(names(row[1])) for row in rows(part)}


def test_every_event_is_documented_with_its_fields() -> None:
    found = documented(section(PROTOCOL, "Events").split("### Changes")[0])
    assert found == {kind: fields(definition) for kind, definition in by_type("event").items()}


def test_every_command_is_documented_with_its_fields() -> None:
    found = documented(COMMANDS)
    assert found.keys() == by_type("command").keys()
    order = list(found)
    for kind, definition in by_type("command").items():
        common = {"type", "id"}
        if order.index(kind) >= order.index("history"):
            common |= {"thread", "cursor"}
            assert {"thread", "cursor?"} <= fields(definition)
        assert found[kind] == fields(definition, common), kind


def test_the_commands_of_one_thread_are_those_below_history() -> None:
    order = list(documented(COMMANDS))
    of_thread = {get_args(kind)[0] for kind in (verb.model_fields["type"].annotation for verb in actions.VERBS)}
    assert set(order[order.index("history") :]) == of_thread | {"history"}


@pytest.mark.parametrize(
    ("title", "name"),
    [("Thread", "ThreadRow"), ("Message", "MessageRow"), ("Run", "RunRow"), ("Inbox item", "InboxItem")],
)
def test_every_row_is_documented_with_its_fields(title: str, name: str) -> None:
    found = column(section(section(PROTOCOL, "Rows"), title))
    assert len(found) == len(set(found))
    assert set(found) == fields(DEFINITIONS[name])


def test_every_part_is_documented() -> None:
    makers = [maker for maker in vars(protocol).values() if inspect.isfunction(maker)]
    kinds = {maker.__name__ for maker in makers if maker.__annotations__.get("return") == "Part"}
    assert set(column(section(PROTOCOL, "Parts"))) == kinds


def test_every_error_code_is_documented_as_it_is() -> None:
    found = [
        (names(row[0])[0], int(row[1]), row[2] == "yes") for row in rows(section(PROTOCOL, "Errors").split("###")[0])
    ]
    assert sorted(found) == sorted((code, kind.status, kind.retryable) for code, kind in errors.CODES.items())


def test_every_close_code_is_documented() -> None:
    found = {int(row[0]) for row in rows(section(PROTOCOL, "Close codes"))}
    assert found == {value for name, value in vars(protocol).items() if name.startswith("CLOSE_")}


def test_every_limit_is_as_documented() -> None:
    for _, amount, name in rows(section(PROTOCOL, "Limits")):
        [known] = names(name)
        value = getattr(protocol, known) if hasattr(protocol, known) else conf.SETTINGS[known[7:]].default
        assert amount.split()[0] == shown(value), known


def test_what_is_reserved_is_not_there_yet() -> None:
    [code] = re.findall(r"the close code (\d+)", section(PROTOCOL, "Reserved"))
    [name] = [name for name, value in vars(protocol).items() if name.startswith("CLOSE_") and value == int(code)]
    assert not [path for path in SERVER if path.name != "protocol.py" and name in path.read_text("utf-8")]


def test_every_error_is_given_by_something() -> None:
    code = "\n".join(path.read_text("utf-8") for path in SERVER if path.name != "errors.py")
    for kind in errors.CODES.values():
        assert re.search(rf"\b{kind.__name__}\b", code), kind


# --------------------------------------------------------------------------------------------------------------- API


def test_every_operation_of_the_api_is_documented() -> None:
    found = {names(row[0])[0]: names(row[1])[0] for row in rows(section(text("docs/api.md"), "Operations"))}
    assert found == {name: f"{method} {path}" for name, (method, path, _) in everything().items()}


def test_every_parameter_of_the_api_that_is_named_exists() -> None:
    for row in rows(section(text("docs/api.md"), "Operations")):
        _, _, operation = everything()[names(row[0])[0]]
        known = {parameter["name"] for parameter in operation["parameters"]} | {"welcome", "text", "markdown", "json"}
        assert set(names(row[2])) <= known, row


# ---------------------------------------------------------------------------------------------------------- settings


def shown(value: Any) -> str:
    """A default as docs show it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}" if isinstance(value, float) else value or "empty"


def test_every_setting_is_documented_with_its_default_and_unit() -> None:
    found = [(names(row[0])[0], row[1], row[2]) for row in rows(section(SETTINGS, "Rejoin's own"))]
    told = [(f"REJOIN_{name}", shown(setting.default), setting.unit) for name, setting in conf.SETTINGS.items()]
    assert found == told


def test_every_variable_of_the_projects_settings_is_documented() -> None:
    read = set()
    for node in ast.walk(ast.parse(text("chatproject/settings.py"))):
        called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if called in ("env", "env_flag", "env_list") and isinstance(node.args[0], ast.Constant):
            read.add(node.args[0].value)
    part = section(SETTINGS, "The project's environment")
    own = {f"REJOIN_{name}" for name in conf.SETTINGS}
    assert {name for name in column(part) if not name.startswith("OPENAI_")} == read - own


def test_every_variable_of_the_provider_is_documented() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "chat" / "providers" / "openai").glob("*.py"))
    part = section(SETTINGS, "The project's environment")
    assert {name for name in column(part) if name.startswith("OPENAI_")} == set(re.findall(r"\bOPENAI_[A-Z_]+", code))


def test_every_check_is_documented() -> None:
    code = text("chat/checks.py")
    assert column(section(SETTINGS, "Checks")) == sorted(set(re.findall(r'id="(rejoin\.[EW]\d+)"', code)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
    known = {f"REJOIN_{name}" for name in conf.SETTINGS}
    known |= set(re.findall(r'"((?:REJOIN|DJANGO)_\w+)"', text("chatproject/settings.py")))
    known.add("DJANGO_SETTINGS_MODULE")  # Django's own
    known |= set(re.findall(r'os\.environ\.get\("(REJOIN_\w+)"', "".join(tests)))
    assert set(re.findall(r"\b(?:REJOIN|DJANGO)_[A-Z_]*[A-Z]\b", page.read_text("utf-8"))) <= known


# --------------------------------------------------------------------------------------------------------- providers


@pytest.mark.parametrize("provider", [DemoProvider, OpenAIProvider, PanelProvider, FlowProvider])
def test_every_option_of_a_shipped_provider_is_documented_with_its_default(provider: Any) -> None:
    part = section(text("docs/providers.md"), f"`{provider.name}`")
    found = {names(row[0])[0]: row[1] for row in rows(part) if row[0].startswith("`")}
    parameters = list(inspect.signature(provider).parameters.values())
    assert found == {
        parameter.name: "needed"
        if parameter.default is parameter.empty
        else shown(parameter.default or type(parameter.default)())
        for parameter in parameters
    }


def test_every_field_of_a_conversation_is_documented() -> None:
    [paragraph] = re.findall(r"\*\*What it gets\.\*\*(.*?)\n\n", text("docs/providers.md"), re.DOTALL)
    told = set(names(paragraph)) - {"Conversation"}
    assert told == {field.name for kind in (Conversation, Turn) for field in dataclasses.fields(kind)}


async def test_the_example_of_ones_own_provider_works(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    [code] = re.findall(r"```python\n(.*?)```", section(text("docs/providers.md"), "Your own"), re.DOTALL)
    exec(code, vars(module))
    providers = Providers({"echo": {"path": "example.Echo", "options": {"patience": 20}}})
    assert await providers.models() == ["calm", "loud"]

    def ask(question: str) -> Any:
        asked = Conversation(run=uuid.uuid4(), model="loud", turns=[Turn("user", question)])
        return asked.answer_id(0), providers.get("echo").stream(asked)

    answer, parts = ask("Hello there")
    assert [part async for part in parts] == [
        protocol.start(answer, author="loud"),
        protocol.text(answer, "HELLO "),
        protocol.text(answer, "THERE "),
        protocol.usage(answer, input=2, output=2),
        protocol.end(answer),
    ]
    with pytest.raises(errors.ProviderUnavailable):
        await anext(ask("Hello there, how are you today?")[1])


# ---------------------------------------------------------------------------------------------------------- embedding


async def test_ones_own_websockets_stand_beside_those_of_the_chat(process: Process, owned: Chat) -> None:
    class Mine(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept("mine")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await names["every_websocket"]({**scope, "rejoin": process}, receive, send)

    [code] = [code for _, code in blocks("python") if "every_websocket" in code]
    names: dict[str, Any] = {"Mine": Mine, "websockets": websockets}
    exec(code, names)
    given = {"host": "testserver", "origin": "http://testserver", "cookie": await cookie_of(owned.owner)}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    for path, answered in (("/ws/mine/", "mine"), ("/ws/chat/", protocol.PROTOCOL)):
        wire = WebsocketCommunicator(application, path, headers, subprotocols=[answered])
        assert await wire.connect(timeout=10) == (True, answered)
        await wire.disconnect()


# --------------------------------------------------------------------------------------------------------- operations


def logged() -> dict[str, set[str]]:
    """The actions that are logged, and at which levels."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for level, action in re.findall(r"log\.(\w+)\(\s*\"action=(\w+)", path.read_text("utf-8")):
            found.setdefault(action, set()).add(level)
    return found


def test_every_action_that_is_documented_is_logged_and_every_warning_is_documented() -> None:
    told = set(column(section(text("docs/operations.md"), "What to watch")))
    warnings = {action for action, levels in logged().items() if levels & {"warning", "error", "exception"}}
    assert told <= logged().keys()
    assert warnings <= told


# ------------------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_typed_as_it_stands(page: Path) -> None:
    """CHANGELOG.md names commands, and gives none."""
    said = page.read_text("utf-8") if page.name != "CHANGELOG.md" else ""
    assert set(re.findall(r"([^\s`(]*\s?manage\.py) \w", said)) <= {".venv/bin/python manage.py"}
    for program in re.findall(r"([^\s`(]*(?:uvicorn|daphne|npm|pytest|ruff)) (?:-|chatproject|ci\b|install\b)", said):
        assert program.startswith(".venv/bin/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_of_the_project_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(
        r"`((?:chat|chatproject|tests|docs|static|templates|tools)/[\w/.-]*)`", page.read_text("utf-8")
    ):
        assert (ROOT / path).exists(), path


def test_every_module_stands_in_the_architecture() -> None:
    part = section(text("docs/architecture.md"), "Rooms")
    for path in (ROOT / "chat").iterdir():
        if path.name in ("__init__.py", "__pycache__", "apps.py", "migrations"):
            continue
        assert re.search(rf"^  {re.escape(path.name)}", part, re.MULTILINE), path.name


def test_the_states_are_drawn_as_in_the_models() -> None:
    from chat import models

    drawn = inspect.cleandoc(models.__doc__ or "").split("\n\n")[1:3]
    for picture in drawn:
        lines = [line.strip() for line in picture.splitlines()]
        page = [line.strip() for line in text("docs/architecture.md").splitlines()]
        assert all(line in page for line in lines), picture


def test_the_readme_is_short_and_its_commands_exist() -> None:
    readme = text("README.md")
    assert len(readme.splitlines()) < 150
    commands = set(re.findall(r"^make (\w+)", readme, re.MULTILINE))
    assert {"run", "test"} <= commands
    assert commands <= set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
