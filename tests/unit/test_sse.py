"""The event streams and long polls: who gets in, what comes, and when a response ends.

Time passes only where a test says so: what a process does once a second is called by hand.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError

from chat import database, frames, sse, tokens
from chat.limits import Limits
from chat.process import Process
from chat.protocol import HEARTBEAT_SILENCE, MAX_FRAME, MAX_RESPONSE, MAX_STREAM, MAX_WAIT, WINDOW, text
from chat.replication import batches, catchup
from chat.replication.attachment import Sources
from chat.replication.inbox import read_inbox
from chat.runlog.base import Append, Batch
from chat.runlog.memory import MemoryRunLog
from tests.sse import Parser
from tests.unit.caller import followings
from tests.unit.chats import Chat, in_database, make_user, until
from tests.unit.replica import Replica
from tests.unit.story import Story, everything_that_happens
from tests.unit.streams import Asks, Exchange, cookie_of

EVENTS, UPDATES = "events", "updates"
both_ways = pytest.mark.parametrize("how", [EVENTS, UPDATES])


@pytest.fixture
async def asks(process: Process, owned: Chat) -> AsyncIterator[Asks]:
    """``asks("events", cursor="1")``: the owner follows the thread; ``inbox``, ``thread`` and ``user`` say otherwise.
    Other fields with an underscore at their end are headers."""
    asked: list[Exchange] = []

    async def ask(how: str, *, thread: Any = None, inbox: bool = False, user: User | None = None, **given: Any) -> Any:
        headers = {name[:-1]: value for name, value in given.items() if name.endswith("_")}
        query = "&".join(f"{name}={value}" for name, value in given.items() if not name.endswith("_"))
        headers.setdefault("cookie", await cookie_of(user or owned.owner))
        path = f"/api/inbox/{how}" if inbox else f"/api/threads/{thread or owned.id}/{how}"
        asked.append(Exchange(process, path, query, **headers))
        return asked[-1]

    yield ask
    for exchange in asked:
        exchange.leave()
        await asyncio.wait({exchange.task})
    assert not process.connections
    assert not process.hub._listeners
    assert not process.limits._open


async def told(process: Process, function: Callable[..., Any], *args: Any, **fields: Any) -> None:
    """A verb, and everybody hears of it."""
    await process.announce((await in_database(function, *args, **fields)).announcement)


async def waiting(process: Process) -> None:
    """Returns when those who follow have all that is there."""
    await until(lambda: process.connections and all(one.attachment._told for one in process.connections))  # type: ignore[attr-defined]


async def all_of(exchange: Exchange, how: str) -> list[dict[str, Any]]:
    """The events of a response, up to its end, or to where a stream has nothing more for now."""
    if how == UPDATES:
        return list((await exchange.json())["events"])
    await until(lambda: b"event: caught_up" in exchange.body or not exchange.open)
    exchange.leave()
    return await exchange.rest()


async def spoken(owned: Chat, process: Process, count: int, size: int = 10_000) -> None:
    """A run says so many long words, and everybody is told."""
    asked = await in_database(owned.send)
    claim = await in_database(owned.claim, asked.run)
    answer = str(await in_database(owned.begin, claim))
    await process.log.open(str(asked.run), claim.lease, claim.first)
    for n in range(count):
        at, parts = claim.first + n, json.dumps([text(answer, "x" * size)])
        await process.log.append([Append(str(asked.run), claim.lease, [Batch(at, at + 1, parts)])])
    version = (await in_database(lambda: owned.thread)).version
    topic = f"thread.{owned.id}"
    await process.layer.group_send(topic, {"type": "changed", "topic": topic, "version": version})


def apply(replica: Replica, events: list[dict[str, Any]]) -> Replica:
    for event in events:
        if event["type"] != "heartbeat":
            replica.apply(json.dumps(event))
    return replica


# ----------------------------------------------------------------------------------------------------------- streams


async def test_a_stream_brings_what_is_there_and_then_what_happens(asks: Asks, owned: Chat, process: Process) -> None:
    turn = await in_database(owned.turn)
    stream = await asks(EVENTS)
    replica = apply(Replica(), await stream.until("caught_up"))
    assert set(replica.messages) == {str(turn.message), str(turn.answer)}
    await told(process, owned.do, "update", title="later")
    [event] = await stream.until("change")
    assert event["row"]["title"] == "later"


async def test_a_stream_is_nothing_that_caches_or_proxies_may_keep_or_change(asks: Asks) -> None:
    stream = await asks(EVENTS, accept_encoding_="gzip")
    await stream.until("caught_up")
    assert stream.status == 200
    assert stream.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
    }


async def test_each_event_has_its_type_and_the_cursor_after_it_as_its_id(asks: Asks, owned: Chat) -> None:
    await in_database(owned.turn)
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    parser = Parser()
    for event in parser.feed(stream.body):
        frame = json.loads(event.data)
        assert (event.type, event.id) == (frame["type"], frame["cursor"])
    assert parser.last_id


async def test_type_and_cursor_of_every_frame_are_found_without_decoding_it(story: Story) -> None:
    evil = '"cursor":"7"} {"type":"gone"'
    await in_database(story.chat.do, "update", title=evil)
    kinds = set()
    async for _ in everything_that_happens(story):
        thread = (story.chat.owner.pk, story.chat.id, catchup.Cursor(), None)
        pages = [
            await catchup.catch_up(database.in_database, story.log, *thread),
            await in_database(read_inbox, story.chat.owner.pk, catchup.Cursor(), True),
        ]
        for frame in (frame for page in pages for frame in page.frames):
            event = json.loads(frame)
            assert frames.mark(frame) == (event["type"], event["cursor"])
            kinds.add(event["type"])
    assert kinds == {"change", "delta", "inbox"}
    without = {"type": "gone", "thread": evil, "code": evil}
    assert frames.mark(frames.encode(without)) == ("gone", None)


async def test_who_comes_back_goes_on_after_the_last_event_whatever_its_url_says(asks: Asks, owned: Chat) -> None:
    await in_database(owned.turn)
    stream = await asks(EVENTS)
    replica = apply(Replica(), await stream.until("caught_up"))
    await in_database(owned.do, "update", title="meanwhile")
    again = await asks(EVENTS, cursor="0", last_event_id_=str(replica.cursor))
    events = await again.until("caught_up")
    assert [event["type"] for event in events] == ["change", "caught_up"]
    assert apply(replica, events).row["title"] == "meanwhile"


@both_ways
async def test_with_a_cursor_only_what_is_missing_comes(asks: Asks, owned: Chat, how: str) -> None:
    await in_database(owned.turn)
    version = (await in_database(lambda: owned.thread)).version
    await in_database(owned.do, "update", title="new")
    follower = await asks(how, cursor=version)
    events = await all_of(follower, how)
    assert [(event.get("from"), event.get("messages")) for event in events if event["type"] == "change"] == [
        (version, [])
    ]


@both_ways
async def test_all_brings_every_message_and_otherwise_the_window_comes(asks: Asks, owned: Chat, how: str) -> None:
    for _ in range(30):
        await in_database(owned.turn)
    for flag, count in (("1", 60), ("true", 60), ("0", 50), ("", 50)):
        follower = await asks(how, all=flag)
        events = await all_of(follower, how)
        assert len(apply(Replica(), events).messages) == count


async def test_a_streams_inbox_is_that_of_who_asks(asks: Asks, owned: Chat, process: Process) -> None:
    stream = await asks(EVENTS, inbox=True)
    events = await stream.until("caught_up")
    assert [item["id"] for event in events for item in event.get("items", [])] == [str(owned.id)]
    await told(process, owned.do, "delete")
    assert (await stream.until("inbox"))[-1]["removed"] == [str(owned.id)]


async def test_no_text_breaks_the_form_of_a_stream(asks: Asks, owned: Chat) -> None:
    words = "a\nb\r\nc\rd\n\ndata: x\n\nid: 7\u2028e\u0085f 👩‍👩‍👧 \x0b"
    turn = await in_database(owned.turn, words, words)
    stream = await asks(EVENTS)
    replica = apply(Replica(), await stream.until("caught_up"))
    assert replica.messages[str(turn.message)]["text"] == replica.messages[str(turn.answer)]["text"] == words


async def test_silence_is_broken_by_a_heartbeat_that_moves_no_cursor(asks: Asks) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    before = stream._parser.last_id
    stream.tick(HEARTBEAT_SILENCE - 1)
    assert await stream.silent()
    stream.tick(HEARTBEAT_SILENCE)
    [beat] = await stream.until("heartbeat")
    assert (beat["n"], stream._parser.last_id) == (1, before)


# ------------------------------------------------------------------------------------------------- when responses end


async def test_a_response_ends_after_its_limit_and_the_next_goes_on(asks: Asks, owned: Chat, process: Process) -> None:
    await spoken(owned, process, 100)
    replica, sizes = Replica(), []
    while not replica.caught_up:
        stream = await asks(EVENTS, last_event_id_=str(replica.cursor))
        events = await stream.rest() if len(sizes) < 3 else await stream.until("caught_up")
        apply(replica, events)
        sizes.append(len(stream.body))
        assert sizes[-1] <= MAX_RESPONSE + MAX_FRAME
        assert stream.whole or replica.caught_up
    assert [len(message["text"]) for message in replica.messages.values() if message["role"] == "assistant"] == [10**6]
    assert all(size >= MAX_RESPONSE for size in sizes[:-1])


async def test_a_full_response_says_to_come_back_at_once(
    asks: Asks, owned: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_RESPONSE", 1)
    await in_database(owned.turn)
    stream = await asks(EVENTS)
    await stream.rest()
    assert stream.whole
    assert stream.retry == sse.RETRY_AT_ONCE * 1000


async def test_a_response_is_at_most_a_minute_old(asks: Asks) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    assert 1000 <= (stream.retry or 0) <= 2000
    stream.tick(MAX_STREAM * 0.75 - 1)
    assert (await stream.until("heartbeat"))[-1]["type"] == "heartbeat"
    stream.tick(MAX_STREAM)
    await stream.rest()
    assert stream.whole
    assert stream.retry == sse.RETRY_AT_ONCE * 1000


@pytest.mark.parametrize("seed", range(4))
@both_ways
async def test_wherever_responses_end_or_break_the_transcript_is_the_same(
    story: Story, process: Process, how: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    assert isinstance(process.log, MemoryRunLog)
    story.log = process.log
    cookie = await cookie_of(story.chat.owner)
    room = rng.choice((1, 800, 5000, MAX_FRAME))
    for module in (batches, catchup):
        monkeypatch.setattr(module, "FRAME_ROOM", room)
    monkeypatch.setattr(catchup, "PAGE_SIZE", rng.choice((1, 2000, 50_000)))
    monkeypatch.setattr(Limits, "command", lambda self, user: None)
    path, replica, responses = f"/api/threads/{story.chat.id}/{how}", Replica(), 0

    async def come_back(broken: bool) -> bool:
        """One response from where the replica is, maybe broken off somewhere. Whether all has come that is there."""
        nonlocal responses
        responses += 1
        monkeypatch.setattr(sse, "MAX_RESPONSE", rng.choice((1, 1000, 4000, MAX_RESPONSE)))
        exchange = Exchange(process, path, f"all=1&wait=0&cursor={replica.cursor}", cookie=cookie)
        if how == UPDATES:
            body = await exchange.json()
            if broken:
                return False
            apply(replica, body["events"])
            assert str(replica.cursor) == body["cursor"]
            return not body["more"]
        await all_of(exchange, how)
        body = exchange.body[: rng.randrange(len(exchange.body))] if broken else exchange.body
        replica.caught_up = False
        apply(replica, [json.loads(event.data) for event in Parser().feed(body)])
        return replica.caught_up

    async for step in everything_that_happens(story):
        if rng.random() < 0.5:  # it was away
            continue
        for _ in range(rng.randrange(3)):
            await come_back(broken=True)
        for _ in range(100):
            if await come_back(broken=False):
                break
        else:
            raise AssertionError("there is no end to it")
        fresh = await story.catch_up()
        assert replica.view() == fresh.view(), step
    assert responses > 10


@both_ways
async def test_one_version_that_is_larger_than_a_response_comes_whole_and_not_for_ever(
    asks: Asks, owned: Chat, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its rows come in several frames, and only the last moves the cursor."""
    monkeypatch.setattr(sse, "MAX_RESPONSE", 30_000)
    asked = await in_database(owned.send)
    claim = await in_database(owned.claim, asked.run)
    said = {await in_database(owned.begin, claim, n): str(n) * 40_000 for n in range(4)}
    before = (await in_database(lambda: owned.thread)).version
    await in_database(owned.finish, claim, said)
    follower = await asks(how, cursor=before)
    changes = [event for event in await all_of(follower, how) if event["type"] == "change"]
    assert len(changes) > 1
    found = {row["id"]: row["text"] for change in changes for row in change["messages"] if row["role"] == "assistant"}
    assert found == {str(pk): words for pk, words in said.items()}
    assert int(changes[-1]["cursor"]) > before


@both_ways
async def test_a_window_that_takes_several_responses_is_not_begun_anew_with_each(
    asks: Asks, owned: Chat, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Though more has changed since the first of its messages than it weighs: other answers, on other branches."""
    monkeypatch.setattr(sse, "MAX_RESPONSE", 100_000)

    def happen() -> None:
        for _ in range(WINDOW // 2):
            turn = owned.turn(words="x" * 10_000)
        for _ in range(20):
            owned.answered(owned.regenerate(turn.answer), "y" * 20_000)

    await in_database(happen)
    replica, begun, responses = Replica(), 0, 0
    while not replica.caught_up:
        responses += 1
        assert responses < 30, "there is no end to it"
        follower = await asks(how, cursor=str(replica.cursor), wait=0)
        apply(replica, events := await all_of(follower, how))
        replica.caught_up = replica.caught_up or b'"more":false}' in follower.body
        begun += sum(event["type"] == "change" and event["from"] == 0 for event in events)
    assert (begun, responses > 3) == (1, True)


async def test_who_takes_nothing_in_costs_one_response_and_no_more(asks: Asks, owned: Chat, process: Process) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    stream.reads.clear()
    [response] = process.connections
    assert isinstance(response, sse.EventStream)
    await spoken(owned, process, 100)
    await until(lambda: response.full)
    size = response.size
    for n in range(20):
        await told(process, owned.do, "update", title=f"{n}")
    await asyncio.sleep(0.05)
    assert response.size == size <= MAX_RESPONSE + MAX_FRAME
    stream.reads.set()
    await stream.rest()
    assert stream.whole


async def test_who_takes_nothing_in_for_long_is_given_up(asks: Asks, owned: Chat, process: Process) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    stream.reads.clear()
    await told(process, owned.do, "update", title="never read")
    await until(lambda: next(iter(process.connections))._blocked_since is not None)  # type: ignore[attr-defined]
    stream.tick(sse.SEND_PATIENCE - 1)
    assert stream.open
    stream.tick(sse.SEND_PATIENCE)
    await asyncio.wait({stream.task})
    assert not stream.whole


@both_ways
async def test_a_server_that_ends_lets_its_followers_go_at_once(asks: Asks, process: Process, how: str) -> None:
    cursor = "1" if how == UPDATES else "0"
    follower = await asks(how, cursor=cursor)
    await waiting(process)
    process.ending = True
    for one in list(process.connections):
        await one.restart()
    assert not process.connections
    if how == EVENTS:
        assert [event["type"] for event in await follower.rest()] == ["change", "caught_up"]
        assert follower.whole
        assert 0 <= follower.retry <= 1000
    else:
        assert (await follower.json())["events"] == []


@both_ways
async def test_a_server_that_ends_takes_nobody_in_and_says_when_to_come_back(
    asks: Asks, process: Process, how: str
) -> None:
    process.ending = True
    late = await asks(how)
    assert ((await late.json())["retryable"], late.status, late.headers["retry-after"]) == (True, 500, "1")
    browser = await asks(EVENTS, accept_="text/event-stream")
    assert [event["code"] for event in await browser.rest()] == ["internal"]
    assert browser.retry == sse.RETRY * 1000


@both_ways
async def test_who_is_being_let_in_when_the_server_ends_is_not_kept(
    asks: Asks, line: Away, process: Process, how: str
) -> None:
    """All who were there have been told by then."""
    line.meanwhile = process.stop
    late = await asks(how)
    assert (await late.json())["code"] == "internal"
    assert process.ending


async def test_a_deletion_ends_the_stream_and_who_comes_back_stays_away(
    asks: Asks, owned: Chat, process: Process
) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    await told(process, owned.do, "delete")
    [event] = await stream.rest()
    assert event == {"type": "gone", "thread": str(owned.id), "code": "not_found"}
    assert stream.whole
    again = await asks(EVENTS, accept_="text/event-stream")
    assert (await again.json())["code"] == "not_found"
    assert again.status == 404, "an EventSource takes it for the end"


@pytest.mark.parametrize("how", ["signed out", "locked out", "revoked"])
async def test_who_loses_the_right_to_read_is_told_in_the_stream_and_it_ends(asks: Asks, owned: Chat, how: str) -> None:
    token = {"authorization_": f"Bearer {await in_database(tokens.make, owned.owner.pk, 'x', None)}"}
    stream = await asks(EVENTS, **(token if how == "revoked" else {}))
    await stream.until("caught_up")
    if how == "signed out":
        await in_database(lambda: Session.objects.all().delete())
    elif how == "locked out":
        await in_database(lambda: User.objects.filter(pk=owned.owner.pk).update(is_active=False))
    else:
        await in_database(lambda: tokens.revoke(tokens.ApiToken.objects.all()))
    stream.tick(sse.SESSION_CHECK)
    last = (await stream.rest())[-1]
    assert (last["type"], last["code"], last["id"]) == ("error", "unauthenticated", None)
    assert stream.whole


# ------------------------------------------------------------------------------------------------------- who gets in


@both_ways
async def test_who_is_not_signed_in_is_told_so(asks: Asks, how: str) -> None:
    for cookie in ("", "sessionid=a-session-that-is-not-there"):
        refused = await asks(how, cookie_=cookie, accept_="text/event-stream")
        assert (await refused.json())["code"] == "unauthenticated"
        assert (refused.status, refused.headers["cache-control"]) == (401, "no-store")


@both_ways
async def test_a_token_opens_what_is_its_users_and_nothing_else(asks: Asks, owned: Chat, how: str) -> None:
    theirs = await in_database(Chat)
    token = {"authorization_": f"Bearer {await in_database(tokens.make, owned.owner.pk, 'x', None)}", "cookie_": ""}
    follower = await asks(how, **token, wait=0)
    await until(lambda: follower.body)
    assert follower.status == 200
    assert (await (await asks(how, thread=theirs.id, **token)).json())["code"] == "not_found"
    assert (await (await asks(how, authorization_="Bearer rejoin_bad")).json())["code"] == "unauthenticated"


@both_ways
async def test_not_yours_and_not_there_are_the_same_words(asks: Asks, how: str) -> None:
    theirs, deleted = await in_database(Chat), await in_database(Chat)
    await in_database(deleted.do, "delete")
    answers = [await asks(how, thread=pk) for pk in (theirs.id, uuid4())]
    answers.append(await asks(how, thread=deleted.id, user=deleted.owner))
    bodies = [await answer.json() for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert [(answer.status, answer.headers) for answer in answers] == [(404, answers[0].headers)] * 3


@both_ways
async def test_an_id_may_be_written_in_capitals(asks: Asks, owned: Chat, how: str) -> None:
    """As everywhere in the API: an id is a UUID, not a text."""
    events = await all_of(await asks(how, thread=str(owned.id).upper()), how)
    assert events[0]["thread"] == str(owned.id)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "1.2"}, "cursor"),
        ({"cursor": "9" * 19}, "cursor"),
        ({"last_event_id_": "%00"}, "cursor"),
        ({"all": "yes please"}, "all"),
        ({"thread": "seven"}, "thread"),
        ({"host_": "evil.example"}, "Host"),
    ],
)
@both_ways
async def test_what_is_wrong_with_a_request_is_named(asks: Asks, how: str, given: dict[str, str], field: str) -> None:
    refused = await asks(how, **given)
    assert (await refused.json())["detail"] == {"field": field}
    assert refused.status == 400


@pytest.mark.parametrize("name", followings())
async def test_every_parameter_of_the_document_is_looked_at(asks: Asks, name: str) -> None:
    wrong = {"cursor": "x", "all": "perhaps", "wait": "soon", "thread": "seven", "Last-Event-ID": "x"}
    for parameter in followings()[name][2]["parameters"]:
        header, given = parameter["in"] == "header", parameter["name"]
        field = {("last_event_id_" if header else given): wrong[given]}
        refused = await asks(name.removeprefix("inbox_"), inbox=name.startswith("inbox_"), **field)
        assert (await refused.json())["detail"] == {"field": "cursor" if header else given}


@both_ways
async def test_a_query_that_is_too_much_is_refused_for_good(asks: Asks, how: str) -> None:
    refused = await asks(how, **{f"field{n}": n for n in range(1001)})
    assert (await refused.json())["code"] == "bad_request"
    assert refused.status == 400


@pytest.mark.parametrize("wait", ["-1", "30.5", "nan", "inf", "1e3", "soon", "0x1"])
async def test_a_wait_that_is_none_is_refused(asks: Asks, wait: str) -> None:
    refused = await asks(UPDATES, wait=wait)
    assert (await refused.json())["detail"] == {"field": "wait"}


@both_ways
async def test_only_get_is_answered(process: Process, owned: Chat, how: str) -> None:
    refused = Exchange(process, f"/api/threads/{owned.id}/{how}", method="POST")
    assert (await refused.json())["code"] == "bad_method"
    assert (refused.status, refused.headers["allow"]) == (405, "GET")


async def test_everything_else_is_for_the_pages(process: Process) -> None:
    for path in ("/", "/api/threads/x/y/events", f"/api/threads/{uuid4()}", "/api/inbox/events/more"):
        exchange = Exchange(process, path)
        await exchange.task
        assert exchange.status == 299


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/api", "/api/", "/api/me", "/api/nothing"])
async def test_a_wrong_host_is_told_in_json_on_the_apis_other_addresses_too(
    process: Process, path: str, method: str
) -> None:
    refused = Exchange(process, path, method=method, host="evil.example")
    error = await refused.json()
    assert (refused.status, error["code"], error["detail"]) == (400, "bad_request", {"field": "Host"})
    passed = Exchange(process, "/apix", host="evil.example")
    await passed.task
    assert passed.status == 299, "what is no address of the API is Django's own business"


@both_ways
async def test_who_asks_too_often_is_told_when_to_come_back(asks: Asks, how: str, settings: Any) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 1, 0.001
    first = await asks(how, wait=0)
    await until(lambda: first.status == 200)
    refused = await asks(how)
    error = await refused.json()
    assert (error["code"], refused.status) == ("rate_limited", 429)
    assert int(refused.headers["retry-after"]) >= error["retry_after"] > 900


async def test_a_browser_that_asks_too_often_is_told_in_a_stream_or_it_would_never_come_back(
    asks: Asks, settings: Any
) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 1, 0.001
    await (await asks(EVENTS)).until("caught_up")
    refused = await asks(EVENTS, accept_="text/event-stream")
    [error] = await refused.rest()
    assert (refused.status, error["type"], error["code"]) == (200, "error", "rate_limited")
    assert refused.retry > 900_000


@both_ways
async def test_a_user_has_only_so_many_streams_open_and_others_have_theirs(
    asks: Asks, owned: Chat, settings: Any, how: str
) -> None:
    settings.REJOIN_MAX_STREAMS = 2
    following = [await asks(EVENTS), await asks(UPDATES, cursor="1")]
    await until(lambda: len(following[0].process.connections) == 2)
    refused = await asks(how)
    assert (await refused.json())["code"] == "rate_limited"
    other = await asks(how, inbox=True, user=await in_database(make_user))
    await until(lambda: other.status == 200 or other.open)
    following[0].leave()
    await following[0].task
    again = await asks(EVENTS)
    assert await again.until("caught_up")


# ------------------------------------------------------------------------------------------------------- long polls


async def test_a_long_poll_answers_at_once_when_there_is_something(asks: Asks, owned: Chat) -> None:
    turn = await in_database(owned.turn)
    poll = await asks(UPDATES)
    body = await poll.json()
    replica = apply(Replica(), body["events"])
    assert set(replica.messages) == {str(turn.message), str(turn.answer)}
    assert (body["cursor"], body["more"]) == (str(replica.cursor), False)
    assert (poll.headers["content-type"], poll.headers["cache-control"]) == ("application/json", "no-store")


async def test_a_long_poll_waits_for_what_comes_next(asks: Asks, owned: Chat, process: Process) -> None:
    poll = await asks(UPDATES, cursor="1")
    await waiting(process)
    assert await poll.silent()
    await told(process, owned.do, "update", title="awaited")
    body = await poll.json()
    assert [event["row"]["title"] for event in body["events"]] == ["awaited"]
    assert (body["cursor"], body["more"]) == ("2", False)


@pytest.mark.parametrize("wait", ["0", "0.05"])
async def test_a_long_poll_for_which_nothing_comes_has_an_empty_list_and_the_cursor(asks: Asks, wait: str) -> None:
    poll = await asks(UPDATES, cursor="1", wait=wait)
    assert await poll.json() == {"events": [], "cursor": "1", "more": False}


def test_a_long_poll_waits_as_long_as_it_may_unless_told() -> None:
    assert [sse._wait(value) for value in ("", "0", "1.5", "30")] == [MAX_WAIT, 0, 1.5, 30]


async def test_a_long_poll_of_an_inbox_waits_for_any_thread(asks: Asks, owned: Chat, process: Process) -> None:
    begun = await (await asks(UPDATES, inbox=True)).json()
    assert [item["id"] for item in begun["events"][0]["items"]] == [str(owned.id)]
    poll = await asks(UPDATES, inbox=True, cursor=begun["cursor"])
    await waiting(process)
    await told(process, owned.do, "update", title="another")
    [event] = (await poll.json())["events"]
    assert [item["title"] for item in event["items"]] == ["another"]


async def test_a_long_catch_up_takes_several_polls(asks: Asks, owned: Chat, process: Process) -> None:
    await spoken(owned, process, 100)
    replica, sizes, more = Replica(), [], True
    while more:
        poll = await asks(UPDATES, cursor=str(replica.cursor), wait=0)
        body = await poll.json()
        apply(replica, body["events"])
        sizes.append(len(poll.body))
        assert sizes[-1] <= MAX_RESPONSE + MAX_FRAME
        more = body["more"]
    assert [len(message["text"]) for message in replica.messages.values() if message["role"] == "assistant"] == [10**6]
    assert len(sizes) > 1
    assert all(size >= MAX_RESPONSE for size in sizes[:-1])


async def test_a_deletion_ends_the_waiting(asks: Asks, owned: Chat, process: Process) -> None:
    poll = await asks(UPDATES, cursor="1")
    await waiting(process)
    await told(process, owned.do, "delete")
    body = await poll.json()
    assert body["events"] == [{"type": "gone", "thread": str(owned.id), "code": "not_found"}]


# ---------------------------------------------------------------------------------------------- the database is away


class Away:
    """The database as attachments see it: away when told. ``meanwhile`` happens before it answers."""

    away = False
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, function: Callable[..., Any], /, *args: object) -> Any:
        if self.away:
            raise OperationalError("the server closed the connection")
        result = await database.in_database(function, *args)
        if self.meanwhile is not None:
            await self.meanwhile()
        return result


@pytest.fixture
def line(process: Process) -> Away:
    line = Away()
    process.sources = Sources(line, process.log, process.hub, process.rng)
    return line


@both_ways
async def test_while_the_database_is_away_nobody_gets_in_but_may_come_back(asks: Asks, line: Away, how: str) -> None:
    line.away = True
    refused = await asks(how)
    error = await refused.json()
    assert (refused.status, error["code"], error["retryable"]) == (500, "internal", True)
    assert refused.headers["retry-after"] == str(int(error["retry_after"]))


async def test_a_browser_comes_back_by_itself_when_the_database_was_away(asks: Asks, line: Away) -> None:
    line.away = True
    refused = await asks(EVENTS, accept_="text/event-stream")
    [error] = await refused.rest()
    assert (refused.status, error["code"]) == (200, "internal")
    assert refused.retry == sse.RETRY_LATER * 1000


async def test_a_stream_outlives_a_database_that_is_away_and_makes_up_for_it(
    asks: Asks, line: Away, owned: Chat, process: Process
) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")
    line.away = True
    await told(process, owned.do, "update", title="meanwhile")
    assert await stream.silent()
    assert stream.open
    line.away = False
    assert (await stream.until("change"))[-1]["row"]["title"] == "meanwhile"


async def test_a_session_that_can_not_be_looked_at_ends_no_stream(
    asks: Asks, owned: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await asks(EVENTS)
    await stream.until("caught_up")

    async def away(database: Any, request: Any) -> Any:
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr("chat.identity.of_request", away)
        stream.tick(sse.SESSION_CHECK)
        assert (await stream.until("heartbeat"))[-1]["n"] == 1
        assert await stream.silent()
    assert stream.open


async def test_a_long_poll_that_can_not_be_answered_says_so(
    asks: Asks, line: Away, owned: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "CATCH_UP_PATIENCE", 0.05)
    fine = line.__call__

    async def only_once(function: Callable[..., Any], /, *args: object) -> Any:
        result = await fine(function, *args)
        line.away = True
        return result

    monkeypatch.setattr(Away, "__call__", lambda self, *args: only_once(*args) if not line.away else fine(*args))
    poll = await asks(UPDATES, wait=0)
    assert (await poll.json())["code"] == "internal"
    assert poll.status == 500
