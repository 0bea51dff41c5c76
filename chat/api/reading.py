"""What there is to read: who you are, threads, messages, runs, and a whole thread to take away."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils.http import content_disposition_header
from ninja.params.models import Path, Query

from chat import commands, export, frames
from chat.api import examples
from chat.api.door import answer, router, viewer_of
from chat.api.shapes import Document, Messages, Runs, ThreadAsRead, Threads, offer
from chat.errors import NotFound, TookTooLong
from chat.http import process_of
from chat.protocol import FOUND, MAX_FOUND, MAX_QUERY, MAX_WINDOW, WINDOW
from chat.replication import listing
from chat.replication.listing import Listing

Thread = Annotated[UUID, Path(..., description="The thread's id")]
WHOLE = offer(Document, examples.DOCUMENT, NotFound)
WHOLE["openapi_extra"]["responses"][200]["content"]["text/markdown"] = {
    "schema": {"type": "string"},
    "example": examples.MARKDOWN,
}


@router.get(
    "/me",
    operation_id="me",
    summary="Who you are, and what is allowed",
    tags=["reading"],
    **offer(frames.Welcome, examples.WELCOME),
)
async def me(request: HttpRequest) -> HttpResponse:
    """The same as a websocket's `welcome`."""
    return answer(await commands.welcome(process_of(request), viewer_of(request)))


@router.get(
    "/threads",
    operation_id="threads",
    summary="List threads, or search in them",
    tags=["reading"],
    **offer(Threads, {"items": [examples.ITEM], "more": False}, NotFound, TookTooLong),
)
async def threads(
    request: HttpRequest,
    query: Annotated[str, Query(..., max_length=MAX_QUERY, description="What title or texts have in them")] = "",
    archived: Annotated[bool | None, Query(..., description="Only those that are, or are not; else all")] = None,
    before: Annotated[UUID | None, Query(..., description="The last thread of the page you have")] = None,
    limit: Annotated[int, Query(..., ge=1, le=MAX_FOUND, description="So many threads at most")] = FOUND,
) -> HttpResponse:
    """The latest first, a page at a time. To follow the list, follow the inbox."""
    process, user_id = process_of(request), viewer_of(request).pk
    return answer(await commands.search(process, user_id, query, before, archived, limit))


@router.get(
    "/threads/{thread}",
    operation_id="thread",
    summary="One thread",
    tags=["reading"],
    **offer(ThreadAsRead, {"thread": examples.THREAD_ROW, "item": examples.ITEM, "version": 7}, NotFound),
)
async def thread(request: HttpRequest, thread: Thread) -> HttpResponse:
    """Its own row, its item in the inbox, and the version of all of it. Its messages have an address of their own."""
    return answer(await process_of(request).sources.database(listing.thread, viewer_of(request).pk, thread))


@router.get(
    "/threads/{thread}/messages",
    operation_id="messages",
    summary="The path: what its reader sees",
    tags=["reading"],
    **offer(Messages, {"messages": [examples.MESSAGE_ROW], "runs": [examples.RUN_ROW], "more": False}, NotFound),
)
async def messages(
    request: HttpRequest,
    thread: Thread,
    before: Annotated[UUID | None, Query(..., description="The first message of the page you have")] = None,
    limit: Annotated[int, Query(..., ge=1, le=MAX_WINDOW, description="So many messages at most")] = WINDOW,
) -> HttpResponse:
    """Its end, or what is before one of its messages: oldest first, as many as fit a frame. Of an answer that is being
    written, all that was said so far. Other branches are named by `siblings`; what waits, by the queued runs."""
    found = await _current(request, listing.path, thread, before, limit)
    return answer({"messages": found.messages, "runs": found.runs, "more": found.more})


@router.get(
    "/threads/{thread}/messages/{message}",
    operation_id="message",
    summary="One message",
    tags=["reading"],
    **offer(frames.MessageRow, examples.MESSAGE_ROW, NotFound),
)
async def message(
    request: HttpRequest, thread: Thread, message: Annotated[UUID, Path(..., description="The message's id")]
) -> HttpResponse:
    """On the path or not. Of an answer that is being written, all that was said so far."""
    found = await _current(request, listing.message, thread, message)
    return answer(found.messages[0])


@router.get(
    "/threads/{thread}/runs",
    operation_id="runs",
    summary="Runs of a thread",
    tags=["reading"],
    **offer(Runs, {"runs": [examples.RUN_ROW], "more": False}, NotFound),
)
async def runs(
    request: HttpRequest,
    thread: Thread,
    state: Annotated[tuple[frames.RunState, ...], Query(..., description="Only those in these states")] = (),
    before: Annotated[UUID | None, Query(..., description="The last run of the page you have")] = None,
    limit: Annotated[int, Query(..., ge=1, le=MAX_WINDOW, description="So many runs at most")] = WINDOW,
) -> HttpResponse:
    """The latest first, a page at a time."""
    database = process_of(request).sources.database
    return answer(await database(listing.runs, viewer_of(request).pk, thread, before, limit, state))


@router.get(
    "/threads/{thread}/runs/{run}",
    operation_id="run",
    summary="One run",
    tags=["reading"],
    **offer(frames.RunRow, examples.RUN_ROW, NotFound),
)
async def run(
    request: HttpRequest, thread: Thread, run: Annotated[UUID, Path(..., description="The run's id")]
) -> HttpResponse:
    """Its state, what it wrote, what it cost, and why it failed."""
    return answer(await process_of(request).sources.database(listing.run, viewer_of(request).pk, thread, run))


@router.get(
    "/threads/{thread}/export",
    operation_id="export",
    summary="A thread to take away",
    tags=["reading"],
    **WHOLE,
)
async def export_thread(
    request: HttpRequest,
    thread: Thread,
    format: Annotated[
        Literal["markdown", "json"], Query(..., description="`markdown`: the path. `json`: all rows of all branches")
    ] = "markdown",
) -> HttpResponse:
    """As a file: Markdown has the path as its reader sees it, JSON all rows of all branches."""
    process, user_id = process_of(request), viewer_of(request).pk
    found = await process.reading.do(user_id, lambda: _current(request, listing.everything, thread))
    if format == "json":
        name, kind = export.file_name(found, "json"), "application/json"
        content = orjson.dumps(export.document(found), option=orjson.OPT_INDENT_2)
    else:
        name, kind = export.file_name(found, "md"), "text/markdown; charset=utf-8"
        content = export.markdown(found).encode()
    response = HttpResponse(content, content_type=kind)
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response


async def _current(request: HttpRequest, read: Any, *args: object) -> Listing:
    sources = process_of(request).sources
    return await listing.current(sources.database, sources.log, read, viewer_of(request).pk, *args)
