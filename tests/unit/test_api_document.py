"""The OpenAPI document: all of the API stands in it, is described, and can be tried as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chat import conf, sse
from chat.api.verbs import VERBS
from chat.errors import CODES
from chat.process import Process
from chat.protocol import MAX_COMMANDS
from chat.routing import with_streams
from tests.unit.caller import Caller, document, everything, followings, operations, validate
from tests.unit.chats import Chat, in_database, make_user


def verb_name(verb: Any) -> str:
    return str(verb.kind.model_fields["type"].annotation.__args__[0])


def without_ids(found: dict[str, Any]) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", json.dumps(found))


async def test_the_document_is_there_for_everybody_and_what_it_describes_is_all_there_is(process: Process) -> None:
    response = await Caller(process).ask("GET", "/api/openapi.json")
    assert response.status_code == 200
    assert without_ids(response.json()) == without_ids(document())
    assert document()["openapi"].startswith("3.")
    assert document()["servers"][0]["url"] == "/"
    assert set(document()["components"]["securitySchemes"]) == {"SessionCookie", "BearerToken"}


@pytest.mark.parametrize("name", everything())
def test_every_operation_has_examples_that_are_of_its_shapes(name: str) -> None:
    _, _, operation = everything()[name]
    assert operation["security"] == [{"SessionCookie": []}, {"BearerToken": []}]
    assert {"200", "400", "401", "429", "500"} <= operation["responses"].keys()
    assert ("413" in operation["responses"]) == ("requestBody" in operation)
    for response in [*operation["responses"].values(), *filter(None, [operation.get("requestBody")])]:
        for kind, content in response["content"].items():
            assert kind in ("application/json", "text/markdown", "text/event-stream")
            validate(content["example"], content["schema"])


def test_only_what_names_something_can_miss_it() -> None:
    """A thread of which nothing is known may be in a list of commands: it may begin there."""
    never = {name for name, (*_, operation) in everything().items() if "404" not in operation["responses"]}
    assert never == {"me", "create", "commands", "inbox_events", "inbox_updates"}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a document."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


def test_everything_in_the_document_is_described() -> None:
    for name, (*_, operation) in everything().items():
        for told in (operation, *operation["parameters"]):
            assert told.get("description"), (name, told.get("name"))
    for part in parts(document()):
        fields = part.get("properties")
        if isinstance(fields, dict) and part.get("type") == "object":
            assert part["title"] == "Anything else" or part.get("description"), part["title"]
            assert {name for name, field in fields.items() if not field.get("description")} == set(), part["title"]


def test_every_verb_says_what_it_does_in_its_own_words() -> None:
    told = [operations()[name][2]["description"] for name in (verb_name(verb) for verb in VERBS)]
    assert len(set(told)) == len(VERBS)
    assert all(re.fullmatch(r"[A-Z][^.]+\.( [A-Z][^.]+\.){0,2}", " ".join(words.split())) for words in told), told


def test_every_schema_is_used_and_every_one_that_is_named_exists() -> None:
    named = {part["$ref"].removeprefix("#/components/schemas/") for part in parts(document()) if "$ref" in part}
    assert named == document()["components"]["schemas"].keys()


def test_an_id_is_said_to_be_a_uuid() -> None:
    others = {("User", "id"), ("ErrorEvent", "id")}  # a user's key is the project's; a refused frame may have any id
    ids = {"id", "thread", "run", "prompt", "head", "parent", "after", "of", "before"}
    for title, schema in document()["components"]["schemas"].items():
        for name, field in schema["properties"].items():
            if (name in ids and "$ref" not in field and (title, name) not in others) or name in ("siblings", "removed"):
                assert any(part.get("format") == "uuid" for part in parts(field)), (title, name)


def test_limits_and_codes_are_said() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["ErrorObject"]["properties"]["code"]["enum"] == sorted(CODES)
    for name in ("SendBody", "EditBody"):
        assert f"{conf.SETTINGS['MAX_MESSAGE'].default:,} bytes" in schemas[name]["properties"]["text"]["description"]
    batch = operations()["commands"][2]["requestBody"]["content"]["application/json"]["schema"]
    assert (batch["minItems"], batch["maxItems"]) == (1, MAX_COMMANDS)


# -------------------------------------------------------------------------------------------------- to be tried out


def tried(found: dict[str, Any], name: str) -> Any:
    """What a page of this document sends, where its reader changes nothing."""
    [operation] = [part for part in parts(found["paths"]) if part.get("operationId") == name]
    return operation["requestBody"]["content"]["application/json"]["example"]


async def test_everybody_can_send_the_examples_as_they_stand(process: Process, owned: Chat) -> None:
    """An id is taken by who uses it first, and a command's id by the first command."""
    for owner in (owned.owner, await in_database(make_user)):
        caller = await Caller.of(process, owner)
        chat = await in_database(Chat, owner)
        turn = await in_database(chat.turn)
        found = (await caller.ask("GET", "/api/openapi.json")).json()
        path: dict[str, dict[str, Any]] = {
            "create": {},
            "edit": {"of": turn.message},
            "regenerate": {"of": turn.answer},
        }
        path |= {"select": {"message": turn.message}, "read": {"message": turn.answer}, "stop": {"run": turn.run}}
        for name in ("create", "send", "edit", "regenerate", "select", "read", "stop", "update", "commands"):
            thread = {} if name == "create" else {"thread": chat.id}
            answer = await caller(name, tried(found, name), **thread, **path.get(name, {}))
            assert caller.response.status_code == 200, (name, answer)
            assert name != "commands" or [reply["type"] for reply in answer] == ["reply"]
        [parameter] = [part for part in parts(found) if part.get("in") == "query" and part.get("name") == "id"]
        await caller("delete", query={"id": parameter["example"]}, thread=chat.id)
        assert caller.response.status_code == 200


# ------------------------------------------------------------------------------------------ streams and long polls


def test_the_document_has_every_address_that_is_served_beside_django() -> None:
    kinds = {sse.events: "text/event-stream", sse.updates: "application/json"}
    routes = {str(route.pattern): kinds.get(route.callback) for route in with_streams(print).routes}
    served = {re.sub("<(.*?)>", r"{\1}", f"/{path}"): kind for path, kind in routes.items() if kind}
    told = {path: next(iter(op["responses"]["200"]["content"])) for _, path, op in followings().values()}
    assert told == served


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.kind.__name__)
def test_a_body_has_the_fields_of_its_command_but_for_those_of_the_address(verb: Any) -> None:
    _, address, operation = operations()[verb_name(verb)]
    inside = {parameter["name"] for parameter in operation["parameters"]}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        inside |= document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"].keys()
    assert inside | {"type"} == verb.kind.model_fields.keys()
    assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"} == {
        part[1:-1] for part in address.split("/") if part.startswith("{")
    }
