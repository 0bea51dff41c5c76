"""The pages: rendered here for the first paint, taken over by the modules in static/chat from there.

A page carries the same frames that a websocket would bring to somebody who has nothing. The HTML is made from them, and
so is the state that the client goes on from: both are of one moment, and the cursor is theirs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import groupby, zip_longest
from math import ceil
from time import thread_time
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import cache_control, never_cache

from chat import access, guests, identity, markdown, modules
from chat.database import in_database
from chat.errors import ChatError, NotFound
from chat.fold import Fold
from chat.frames import encode
from chat.http import failure, limited, process_of
from chat.languages import catalog, kept, words, words_for
from chat.models import Message, Run
from chat.process import RENDERERS
from chat.protocol import WINDOW, Cursor
from chat.replication import catchup, listing
from chat.replication.attachment import Sources
from chat.replication.inbox import read_inbox

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

_renderers = ThreadPoolExecutor(RENDERERS, thread_name_prefix="renderer")
"""Answers become HTML on threads of their own: one that is made to be hard keeps none from the database."""
PATIENCE = 2.0
"""Seconds of work on a page, after which its other answers, the older ones, are left as text to the page's modules."""

PROMPTS = (
    _("How does an answer survive when I close the tab?"),
    _("What exactly does Stop do?"),
    _("Write a short Python program"),
    _("Say something in many languages"),
)

TOGETHER = timedelta(seconds=1)
"""Within this time messages that began together have begun."""

LEFT_OUT_ONE = "{count} earlier message did not fit and was left out"
LEFT_OUT_MANY = "{count} earlier messages did not fit and were left out"


def kept_whole(view: View) -> View:
    """For a page that goes on by itself where it was left: a browser may keep it whole, as it stands, for who goes back
    to it, which ``no-store`` would forbid. The stored response is for the same cookies only: ``Vary`` says so."""
    return cache_control(private=True, no_cache=True)(view)


@kept_whole
@limited
async def chat(request: HttpRequest) -> HttpResponseBase:
    """A new chat. A stranger becomes a guest here, where guests are allowed."""
    user = await guests.visitor(request, welcome=True)
    if user is None:
        return redirect_to_login(request.get_full_path())
    return await _page(request, user, None, [])


@kept_whole
@limited
async def thread(request: HttpRequest, thread_id: UUID) -> HttpResponseBase:
    """A chat. With ``before`` its earlier messages, for who reads without JavaScript."""
    user = await guests.visitor(request, welcome=False)
    if user is None:
        return redirect_to_login(request.get_full_path())
    try:
        if "before" in request.GET:
            before = _uuid(request.GET["before"])
            frames = await in_database(earlier_frames, user.pk, thread_id, before)
            return await _page(request, user, thread_id, frames, before)
        sources = process_of(request).sources
        return await _page(request, user, thread_id, await first_frames(sources, user.pk, thread_id))
    except NotFound:
        return await _page(request, user, thread_id, [_gone(thread_id)], gone=True)


@never_cache
async def html(request: HttpRequest, thread_id: UUID, message_id: UUID) -> HttpResponseBase:
    """What a complete answer looks like, as JSON. The page asks for it where there is code to be coloured."""

    def read(user_id: Any) -> str:
        return access.message(access.thread(user_id, thread_id), message_id).text

    database = process_of(request).sources.database
    try:
        viewer = await identity.of_request(database, request)
        text = await database(read, viewer.pk)
        return JsonResponse({"html": await _rendered(request, viewer.pk, lambda: markdown.render(text))})
    except ChatError as error:
        return failure(error)


async def _rendered(request: HttpRequest, user_id: Any, function: Callable[[], T]) -> T:
    """What the function makes of answers, in the language that is spoken here, when it is its user's turn. Raises
    RateLimited."""

    async def work() -> T:
        return await asyncio.get_running_loop().run_in_executor(_renderers, spoken)

    spoken = kept(function)
    return await process_of(request).rendering.do(user_id, work)


async def _page(
    request: HttpRequest,
    user: AbstractBaseUser,
    thread_id: UUID | None,
    frames: list[str],
    before: UUID | None = None,
    gone: bool = False,
) -> HttpResponse:
    def make() -> HttpResponse:
        get_token(request)  # sets the cookie, for commands over the JSON API where no websocket gets through
        inbox = _inbox_frames(user.pk)
        context = {
            **view,
            "items": _in_order(inbox),
            # A page of earlier messages is for reading: it carries no state to go on from.
            "frames": _json_for_script(f"[{','.join(inbox if before else [*inbox, *frames])}]"),
            "language": _json_for_script(json.dumps(catalog(), ensure_ascii=False)),
            "visitor": user,
            "guest": guests.is_guest(user),
            "thread_id": None if thread_id is None else str(thread_id),
            "before": before,
            "gone": gone,
            "prompts": PROMPTS,
            "modules": modules.addresses(),
            "import_map": modules.import_map(),
            "blank": {},
        }
        return render(request, "chat/chat.html", context, status=404 if gone else 200)

    def look() -> dict[str, Any]:
        return first_view([json.loads(frame) for frame in frames])

    view = await _rendered(request, user.pk, look) if frames else look()
    return await in_database(kept(make))


# ---------------------------------------------------------------------------------------------------- first paint


def first_view(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """What the frames of a thread add up to, for the template: title, path, abreast, queued, earlier.

    The frames are those of a catch-up from nothing, so that nothing needs to be replaced or dropped.
    """
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Any]] = {}
    thread_row: dict[str, Any] = {}
    folds: dict[str, Fold] = {}
    for frame in frames:
        if frame["type"] == "change":
            thread_row = frame.get("row", thread_row)
            runs |= {run["id"]: run for run in frame["runs"]}
            rows |= {row["id"]: row for row in frame["messages"]}
        elif frame["type"] == "delta":
            fold = folds.setdefault(frame["run"], _fold(frame["run"], frame["from"], rows))
            fold.add(frame["parts"], frame["to"])
    for fold in folds.values():
        for message_id, answer in fold.answers.items():
            if message_id in rows:
                told = {"text": answer.text, "reasoning": answer.reasoning, "reasoning_ms": answer.reasoning_ms}
                rows[message_id] |= told
    answering = any(run["state"] == Run.State.RUNNING for run in runs.values())
    for row in rows.values():
        row["time"] = datetime.fromisoformat(row["created_at"])
        if len(row["siblings"]) > 1:
            row["version_of"] = f"{row['siblings'].index(row['id']) + 1}/{len(row['siblings'])}"
    path: list[dict[str, Any]] = []
    message = rows.get(thread_row.get("head") or "")
    while message is not None:
        path.append(message)
        message = rows.get(message["parent"] or "")
    until = thread_time() + PATIENCE
    for row in path:
        if row["role"] == Message.Role.ASSISTANT:
            row["growing"] = row["status"] == Message.Status.STREAMING
            if thread_time() < until:
                row["html"] = (markdown.render_growing if row["growing"] else markdown.render)(row["text"])
            row["thinking"] = row["growing"] and not row["text"]
            row["thoughts"] = thoughts(row["thinking"], row["reasoning_ms"])
    path.reverse()
    runs_of = {row["id"]: runs.get(row["run"]) for row in rows.values()} | silent(path, runs)
    for row in rows.values():
        run = runs_of[row["id"]]
        row["note"] = note(row, run, answering)
        row["wrong"] = row["role"] != Message.Role.ASSISTANT and run is not None and run["error"] is not None
    places = firsts(path, runs)
    for row, place, count in zip(path, places, abreast(path, runs, places), strict=True):
        row["several"] = places.count(place) > 1
        row["abreast"] = count if count > 1 else None
    return {
        "title": thread_row.get("title", ""),
        "path": path,
        "abreast": any(row["abreast"] for row in path),
        "queued": sorted(
            (row for row in rows.values() if row["status"] == Message.Status.QUEUED),
            key=lambda row: runs.get(row["run"], {}).get("place") or len(rows),
        ),
        "earlier": path[0]["id"] if path and path[0]["parent"] else None,
    }


def _fold(run: str, seq: int, rows: dict[str, dict[str, Any]]) -> Fold:
    fold = Fold(seq)
    for row in rows.values():
        if row["run"] == run and row["role"] == Message.Role.ASSISTANT:
            fold.hold(row["id"], row["text"], row["reasoning"], row["reasoning_ms"])
    return fold


def firsts(path: list[dict[str, Any]], runs: dict[str, dict[str, Any]]) -> list[int]:
    """Of each message of the path, where the answers begin that belong together with it; of a question, its own place.

    The page's modules find the same, and the same of abreast (page/outlook.js): tests/words holds both to it."""

    def question_of(row: dict[str, Any]) -> Any:
        return runs.get(row["run"], {}).get("prompt", row["run"]) if row["role"] == Message.Role.ASSISTANT else None

    places: list[int] = []
    for at, row in enumerate(path):
        question = question_of(row)
        goes_on = at > 0 and question is not None and question == question_of(path[at - 1])
        places.append(places[-1] if goes_on else at)
    return places


def abreast(path: list[dict[str, Any]], runs: dict[str, dict[str, Any]], places: list[int]) -> list[int]:
    """How many answers stand side by side with each message of the path, itself counted: those that belong together (by
    the ``places`` of firsts) and all began before one of them had said a word."""
    counts = [1] * len(path)
    for first, group in groupby(range(len(path)), places.__getitem__):
        together = list(group)
        word = runs.get(path[first]["run"], {}).get("first_token_at")
        began = [datetime.fromisoformat(path[at]["created_at"]) for at in together]
        if max(began) <= (datetime.fromisoformat(word) if word else began[0] + TOGETHER):
            for at in together:
                counts[at] = len(together)
    return counts


def silent(path: list[dict[str, Any]], runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Of each question on the path (by id): the run that was to answer it, if that ended before it said anything."""
    last = {run["prompt"]: run for run in sorted(runs.values(), key=lambda run: int(run["version"]))}
    found: dict[str, dict[str, Any] | None] = {}
    for row, after in zip_longest(path, path[1:]):
        if row["role"] != Message.Role.ASSISTANT:
            run = None if after and after["role"] == Message.Role.ASSISTANT else last.get(row["id"])
            found[row["id"]] = run if run and run["state"] in Run.FINAL else None
    return found


def note(row: dict[str, Any], run: dict[str, Any] | None, answering: bool) -> str:
    """How the message ended or where it stands, in words, if that needs any. ``run``: its own; of a question, as silent
    finds it.

    The page's modules say the same of this and of thoughts (page/words.js): tests/words holds both to it."""
    place = (run or {}).get("place") or 1
    if row["status"] == Message.Status.QUEUED:
        if not answering:
            return ""
        return words("Queued, place {place}", place=place) if place > 1 else words("Queued: next")
    if row["role"] != Message.Role.ASSISTANT:
        if run is None:
            return ""
        return words(str(run["error"]["message"]) if run["error"] else "Stopped before it began")
    if row["status"] in (Message.Status.CUT, Message.Status.FAILED):
        error = row["error"] or (run["error"] if run is not None else None)
        if error:
            return words(str(error["message"]))
        return words("Interrupted" if run is not None and run["state"] == Run.State.INTERRUPTED else "Stopped")
    left = run["left_out"] if run is not None and row["status"] == Message.Status.COMPLETE else 0
    return words_for(left, LEFT_OUT_ONE, LEFT_OUT_MANY) if left else ""


def thoughts(thinking: bool, milliseconds: int) -> str:
    """The title of what the model thinks, or has thought for so long (0: that is not known)."""
    if thinking or not milliseconds:
        return words("Thinking…" if thinking else "Reasoning")
    seconds = max(1, ceil(milliseconds / 1000 - 0.25))
    time = words("{count} s", count=seconds) if seconds < 100 else words("{count} min", count=int(seconds / 60 + 0.5))
    return words("Thought for {time}", time=time)


async def first_frames(sources: Sources, user_id: Any, thread_id: UUID) -> list[str]:
    """What a websocket would bring to somebody who has nothing, up to ``caught_up``. Raises NotFound."""
    view = await sources.database(catchup.window, user_id, thread_id)
    frames: list[str] = []
    cursor, more = Cursor(), True
    while more:
        page = await catchup.catch_up(sources.database, sources.log, user_id, thread_id, cursor, view)
        frames += page.frames
        cursor, more = page.cursor, page.more
    return [*frames, encode({"type": "caught_up", "thread": str(thread_id), "cursor": str(cursor)})]


def earlier_frames(user_id: Any, thread_id: UUID, before: UUID) -> list[str]:
    """One frame with the messages before one of them. Raises NotFound."""
    title = access.thread(user_id, thread_id).title
    found = listing.history(user_id, thread_id, before, WINDOW)
    head = found["messages"][-1]["id"] if found["messages"] else None
    return [encode({"type": "change", "row": {"title": title, "head": head}, **found})]


def _gone(thread_id: UUID) -> str:
    return encode({"type": "gone", "thread": str(thread_id), "code": NotFound.code})


def _inbox_frames(user_id: Any) -> list[str]:
    """The first view of the inbox. Titles can be so long that it takes several frames."""
    page = read_inbox(user_id, Cursor(), False)
    frames = list(page.frames)
    while page.more:
        page = read_inbox(user_id, page.cursor, False)
        frames += page.frames
    return frames


def _in_order(inbox: list[str]) -> list[dict[str, Any]]:
    """The items of the frames as the list shows them. (client/inbox.js has the same order.)"""
    items = {item["id"]: item for frame in inbox for item in json.loads(frame)["items"]}
    latest = sorted(items.values(), key=lambda item: item["updated_at"], reverse=True)
    return sorted((item for item in latest if not item["archived"]), key=lambda item: not item["pinned"])


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise NotFound() from None


def _json_for_script(text: str) -> SafeString:
    """JSON that can't end its script element: in JSON these characters only ever stand in strings."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return mark_safe(text)
