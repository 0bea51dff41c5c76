"""The commands: an address for each verb, and one for a list of any of them."""

from __future__ import annotations

import logging
from inspect import getdoc
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja.params.models import Body, Path, Query
from ninja.utils import contribute_operation_args

from chat import commands, conf, frames
from chat.api.door import COMMANDS, answer, router, viewer_of
from chat.api.examples import COMMAND, MESSAGE, RUN, THREAD
from chat.api.shapes import Answer, Batch, Replies, body, offer
from chat.errors import BadRequest, ChatError, Conflict, Forbidden, Internal, NotFound, TooLarge, Unsupported
from chat.http import process_of
from chat.protocol import MAX_COMMANDS

log = logging.getLogger(__name__)


class Verb(NamedTuple):
    """A command and its address. What the path names are fields of the command; the others come in the body."""

    method: Literal["POST", "PATCH", "DELETE"]
    path: str
    kind: type[frames.ThreadCommand]
    summary: str
    example: dict[str, Any]


VERBS = (
    Verb("POST", "/threads", frames.Create, "Begin a thread", {"thread": THREAD, "title": "Rivers"}),
    Verb("PATCH", "/threads/{thread}", frames.Update, "Change the fields that are there", {"archived": True}),
    Verb("DELETE", "/threads/{thread}", frames.Delete, "Delete a thread with all its messages", {}),
    Verb(
        "POST",
        "/threads/{thread}/messages",
        frames.Send,
        "Send a message, and queue a run that answers it",
        {"message": MESSAGE, "run": RUN, "text": "Where do rivers begin?"},
    ),
    Verb(
        "POST",
        "/threads/{thread}/messages/{of}/edit",
        frames.Edit,
        "Send another message in place of this one, which stays beside it",
        {"message": MESSAGE, "run": RUN, "text": "Where do rivers end?"},
    ),
    Verb(
        "POST",
        "/threads/{thread}/messages/{of}/regenerate",
        frames.Regenerate,
        "Ask for another answer beside this one",
        {"run": RUN},
    ),
    Verb(
        "POST",
        "/threads/{thread}/messages/{of}/continue",
        frames.Continue,
        "Go on with an answer that was cut",
        {"run": RUN},
    ),
    Verb(
        "POST",
        "/threads/{thread}/messages/{message}/select",
        frames.Select,
        "Show the newest path through this message",
        {},
    ),
    Verb("POST", "/threads/{thread}/messages/{message}/read", frames.Read, "Say that all is read up to here", {}),
    Verb("POST", "/threads/{thread}/runs/{run}/stop", frames.Stop, "End a run where it was read", {}),
)


def _add(verb: Verb) -> None:
    name = verb.kind.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
    fields = verb.kind.model_fields
    filled = {field for field in fields if f"{{{field}}}" in verb.path}
    # A thread that is begun can't be missing.
    refusals = (Forbidden, Conflict) if verb.kind is frames.Create else (Forbidden, NotFound, Conflict)

    async def view(request: HttpRequest, **values: Any) -> HttpResponse:
        given = values.pop("given").model_dump(exclude_unset=True)
        command = verb.kind.model_validate({"type": name, **given, **values})
        result = await commands.do(process_of(request), viewer_of(request).pk, command)
        return answer({"id": str(command.id), **result})

    view.__name__ = name
    # Many clients, and proxies, drop the body of a DELETE.
    source: Any = Query if verb.method == "DELETE" else Body
    contribute_operation_args(view, "given", body(verb.kind, filled), source(...))
    for field in sorted(filled):
        contribute_operation_args(view, field, UUID, Path(..., description=fields[field].description))
    router.api_operation(
        [verb.method],
        verb.path,
        operation_id=name,
        summary=verb.summary,
        description=getdoc(verb.kind),
        tags=["commands"],
        **offer(
            Answer,
            {"id": COMMAND, "version": 7},
            *refusals,
            body=None if source is Query else {"id": COMMAND, **verb.example},
        ),
    )(view)


for _verb in VERBS:
    _add(_verb)


# --------------------------------------------------------------------------------------------------- a list of them


@router.post(
    "/threads/{thread}/commands",
    operation_id=COMMANDS,
    url_name=COMMANDS,
    summary="Do several commands",
    tags=["commands"],
    **offer(
        Replies,
        [{"type": "reply", "id": COMMAND, "result": {"version": 8}}],
        Forbidden,
        body=[{"type": "send", "id": COMMAND, "message": MESSAGE, "run": RUN, "text": "Where do rivers begin?"}],
    ),
)
async def do_all(
    request: HttpRequest,
    thread: Annotated[UUID, Path(..., description="The thread that all of them are about")],
    given: Annotated[Batch, Body(...)],
) -> HttpResponse:
    """Frames of the protocol, as on a websocket, of this one thread (which they need not name): done in order, each on
    its own. The answer has as many replies and errors, in the same order; what is no good frame gets an error, too.

    They count as so many requests. When that is too much, none is done.
    """
    most = min(MAX_COMMANDS, conf.BURST)
    if len(given) > most:
        raise TooLarge("These are too many commands at once.", detail={"limit": most})
    process, user_id = process_of(request), viewer_of(request).pk
    process.limits.command(user_id, len(given) - 1)  # the first is the request itself
    return answer([await _reply(process, user_id, thread, value) for value in given])


async def _reply(process: Any, user_id: Any, thread: UUID, value: Any) -> dict[str, Any]:
    named = value.get("id") if isinstance(value, dict) else None
    try:
        frame = {"thread": str(thread), **frames.frame(value)}
        command = frames.command(frame)
        if not isinstance(command, frames.ThreadCommand):
            raise Unsupported("This is no command of a thread.")
        if command.thread != thread:
            raise BadRequest("This is the address of another thread.", detail={"field": "thread"})
        result = await commands.do(process, user_id, command)
    except ChatError as error:
        return {"type": "error", "id": named if isinstance(named, str) else None, **error.as_dict()}
    except Exception:
        log.exception("action=command_failed type=%s", frame["type"])
        return {"type": "error", "id": named, **Internal().as_dict()}
    return {"type": "reply", "id": named, "result": result}
