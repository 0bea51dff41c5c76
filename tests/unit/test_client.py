"""The Python client: what it sends after every loss, whom it tells what, and when it gives up."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import websockets

from chat import errors
from chat.client import Client, Closed, FileStore
from chat.client.client import KEPT
from chat.client.transport import places
from tests.servers.process import ROOT
from tests.unit.pipe import Server, begin, settled, virtually

RUN, LEASE = str(uuid4()), 1_000_000


def change(frm: int, to: int, **fields: Any) -> dict[str, Any]:
    event = {"type": "change", "thread": "t", "from": frm, "to": to, "messages": [], "runs": [], "cursor": str(to)}
    return event | fields


def delta(frm: int, to: int, *parts: list[Any]) -> dict[str, Any]:
    place = {"from": LEASE + frm, "to": LEASE + to, "cursor": f"2.{RUN}.{LEASE + to}"}
    return {"type": "delta", "thread": "t", "run": RUN, "parts": list(parts)} | place


def running(**fields: Any) -> dict[str, Any]:
    return {"id": RUN, "prompt": "q", "state": "running", "place": None, "seq": LEASE} | fields


CAUGHT_UP = {"type": "caught_up", "thread": "t", "cursor": "2"}


async def follow(server: Server, *events: dict[str, Any]) -> None:
    """The client follows the thread, and gets these events and that it has caught up."""
    following = begin(server.client.follow("t"))
    await settled()
    await server.answer(server.pipe.of_type("attach")[-1])
    await server.say(*events, CAUGHT_UP)
    await following


@virtually
async def test_what_is_followed_is_attached_with_its_cursor_on_every_connection() -> None:
    server = Server()
    async with server.client as client:
        begin(client.follow_inbox(all=True))
        await follow(server, change(0, 2))
        await server.say({"type": "inbox", "from": 0, "to": 4, "items": [], "removed": [], "cursor": "4"})
        await server.reconnect()
        attaches = server.pipe.of_type("attach")
        assert sorted((frame.get("thread", "inbox"), frame["cursor"], "all" in frame) for frame in attaches) == [
            ("inbox", "4", True),
            ("t", "2", False),
        ]
        assert not client.thread("t").caught_up


@virtually
async def test_commands_without_a_reply_are_sent_again_with_their_ids_in_their_order() -> None:
    server = Server()
    async with server.client as client:
        server.away = True
        server.pipe.fall(1006)
        await settled()
        doing = [begin(client.update("t", title=f"{n}")) for n in range(5)]
        await settled()
        server.away = False
        await asyncio.sleep(60)
        first = server.pipe.of_type("update")
        assert [frame["title"] for frame in first] == ["0", "1", "2", "3", "4"]
        await server.answer(first[1])
        await server.reconnect()
        assert server.pipe.of_type("update") == [first[0], *first[2:]]
        for frame in server.pipe.of_type("update"):
            await server.answer(frame)
        await asyncio.gather(*doing)
        await server.reconnect()
        assert server.pipe.sent == []


@virtually
async def test_wherever_the_connection_is_cut_every_command_is_done_once_and_in_order() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        server, done = Server(), list[str]()
        async with server.client as client:

            async def handle(server: Server = server, done: list[str] = done, rng: random.Random = rng) -> None:
                """As far as the cut lets it; each reply may be lost with the connection."""
                frames = server.pipe.of_type("send")
                server.pipe.sent.clear()
                for frame in frames[: rng.randint(0, len(frames))]:
                    if frame["message"] not in done:
                        done.append(frame["message"])
                    if rng.random() < 0.5:
                        break
                    await server.answer(frame)

            sending = []
            for n in range(12):
                sending.append(begin(client.send("t", f"{n}")))
                await settled()
                if rng.random() < 0.6:
                    await handle()
                    await server.reconnect()
            while client.outbox.unanswered:
                await handle()
                await server.reconnect()
            sent = await asyncio.gather(*sending)
        assert done == [message for message, _ in sent], f"seed {seed}"


@virtually
async def test_a_refused_command_raises_the_error_of_its_code() -> None:
    server = Server()
    async with server.client as client:
        for code, kind in errors.CODES.items():
            doing = begin(client.select("t", "m"))
            await settled()
            await server.refuse(server.pipe.of_type("select")[-1], code, message="Why.", retry_after=3)
            with pytest.raises(kind, match="Why") as refused:
                await doing
            assert (refused.value.code, refused.value.retry_after) == (code, 3)
        doing = begin(client.select("t", "m"))
        await settled()
        await server.refuse(server.pipe.of_type("select")[-1], "of_next_year", status=418, retryable=True)
        with pytest.raises(errors.ChatError) as refused:
            await doing
        assert (refused.value.code, refused.value.status, refused.value.retryable) == ("of_next_year", 418, True)
        assert client.outbox.unanswered == []


@virtually
async def test_a_command_that_the_server_could_not_read_is_refused_here() -> None:
    server = Server()
    async with server.client as client:
        with pytest.raises(errors.TooLarge):
            await client.send("t", "漢" * 30_000)
        assert client.outbox.unanswered == []
        begin(client.send("t", "half a \ud83d pair"))
        await settled()
        assert server.pipe.of_type("send")[0]["text"] == "half a \ufffd pair"


@pytest.mark.parametrize("code", [4400, 4401, 4403])
def test_a_client_that_is_sent_away_tells_everybody_who_waits_and_stays_away(code: int) -> None:
    kind = {4400: errors.BadFrame, 4401: errors.Unauthenticated, 4403: errors.Forbidden}[code]

    @virtually
    async def test() -> None:
        server = Server()
        with pytest.raises(kind):
            async with server.client as client:
                doing = begin(client.delete("t"))
                following = begin(client.follow("t"))
                await settled()
                server.pipe.fall(code)
                await asyncio.sleep(600)
                for task in (doing, following):
                    with pytest.raises(kind):
                        await task
                for call in (client.follow("u"), client.delete("t")):
                    with pytest.raises(kind):
                        await call
                assert len(server.pipes) == 1

    test()


@virtually
async def test_a_client_that_is_never_let_in_says_so_at_once() -> None:
    server = Server()
    server.welcoming = False
    entering = begin(server.client.__aenter__())
    await settled()
    server.pipe.fall(4401)
    with pytest.raises(errors.Unauthenticated):
        await entering


@virtually
async def test_who_leaves_the_block_leaves_nobody_waiting() -> None:
    server = Server()
    async with server.client as client:
        doing = begin(client.delete("t"))
        following = begin(client.follow("t"))
        await settled()
    for task in (doing, following):
        with pytest.raises(Closed):
            await task
    assert server.pipe.code == 1000, "it says goodbye"


def test_the_outbox_survives_the_program_except_for_questions(tmp_path: Path) -> None:
    @virtually
    async def first() -> None:
        server = Server(store=FileStore(tmp_path / "outbox.json"))
        server.away = True
        server.client.start()
        for call in (server.client.send("t", "kept"), server.client.search("rain")):
            begin(call)
        await settled()
        await server.client.close()

    @virtually
    async def second() -> None:
        server = Server(store=FileStore(tmp_path / "outbox.json"))
        async with server.client:
            await settled()
            [kept] = server.pipe.sent
            assert kept["text"] == "kept"
            await server.answer(kept)
        assert FileStore(tmp_path / "outbox.json").load() == []

    first()
    second()


# --------------------------------------------------------------------------------------------------- what is followed


@virtually
async def test_who_watches_goes_round_once_for_all_that_came_meanwhile() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2, runs=[running()]))
        rounds = []

        async def watch() -> None:
            async for transcript in client.thread("t"):
                rounds.append(transcript.text(RUN))
                await asyncio.sleep(1)

        watching = begin(watch())
        await settled()
        for n in range(5):
            await server.say(delta(n, n + 1, ["text", "a", f"{n}"]))
        await asyncio.sleep(3)
        await server.say({"type": "gone", "thread": "t", "code": "not_found"})
        await watching
        assert rounds == ["", "01234", ""]
        assert client.thread("t").gone == "not_found"
        with pytest.raises(errors.NotFound):
            await client.thread("t").ended(RUN)


@virtually
async def test_a_thread_that_is_not_ours_raises_and_one_that_cannot_be_read_now_is_tried_again() -> None:
    server = Server()
    async with server.client as client:
        following = begin(client.follow("t"))
        await settled()
        await server.refuse(server.pipe.of_type("attach")[0], "internal", retryable=True)
        await asyncio.sleep(5)
        assert len(server.pipe.of_type("attach")) == 2
        await server.say({"type": "gone", "thread": "t", "code": "not_found"})
        with pytest.raises(errors.NotFound):
            await following


@virtually
async def test_after_leaving_and_coming_back_what_was_sent_before_the_server_knew_is_not_applied() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2, runs=[running()]), delta(0, 2, ["start", "a", {}], ["text", "a", "one "]))
        client.unfollow("t")
        following = begin(client.follow("t"))
        await settled()
        assert server.pipe.of_type("attach")[-1]["cursor"] == "2"
        await server.say(delta(2, 3, ["text", "a", "two "]))
        await server.answer(server.pipe.of_type("detach")[0])
        await server.say(delta(2, 4, ["text", "a", "two three"]), CAUGHT_UP)
        await following
        assert client.thread("t").text(RUN) == "one two three"
        assert client.thread("t").gaps == 0


@virtually
async def test_a_gap_is_mended_by_attaching_once_from_where_we_are_and_then_from_nothing() -> None:
    server = Server()
    async with server.client:
        await follow(server, change(0, 2, runs=[running()]))
        for cursor in ("2", None):
            await server.say(delta(5, 6, ["text", "a", "?"]), delta(6, 7, ["text", "a", "?"]))
            assert server.pipe.of_type("attach")[-1].get("cursor") == cursor
            await server.answer(server.pipe.of_type("detach")[-1])


@virtually
async def test_a_detach_that_is_refused_is_made_again_unless_the_thread_is_wanted_again() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2))
        client.unfollow("t")
        await settled()
        await server.refuse(server.pipe.of_type("detach")[0], "rate_limited", retryable=True, retry_after=1)
        await asyncio.sleep(2)
        assert len(server.pipe.of_type("detach")) == 2
        begin(client.follow("t"))
        await settled()
        await server.refuse(server.pipe.of_type("detach")[1], "rate_limited", retryable=True, retry_after=1)
        await asyncio.sleep(2)
        assert len(server.pipe.of_type("detach")) == 2
        await server.say(change(2, 3), CAUGHT_UP)
        assert client.thread("t").version == 3


@virtually
async def test_all_of_a_thread_is_asked_for_anew_if_a_part_was_held() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2))
        begin(client.follow("t", all=True))
        await settled()
        assert [frame["type"] for frame in server.pipe.sent] == ["attach", "detach", "attach"]
        assert "cursor" not in server.pipe.sent[-1]
        assert server.pipe.sent[-1]["all"] is True


@virtually
async def test_a_new_thread_is_attached_when_the_server_has_it_and_not_before() -> None:
    server = Server()
    async with server.client as client:
        begin(client.create("t"))
        await settled()
        begin(client.follow("t"))
        await settled()
        assert [frame["type"] for frame in server.pipe.sent] == ["create"]
        await server.answer(server.pipe.sent[0])
        assert [frame["type"] for frame in server.pipe.sent] == ["create", "attach"]


@virtually
async def test_transcripts_that_nobody_follows_are_forgotten_in_the_end() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2))
        for n in range(2 * KEPT):
            client.thread(f"{n}")
        assert client.thread("t").version == 2
        assert client.thread("0").version == 0
        assert len(client._transcripts) <= KEPT + 2


@virtually
async def test_a_stop_tells_what_is_held_unless_it_is_told_what_was_seen() -> None:
    server = Server()
    async with server.client as client:
        await follow(server, change(0, 2, runs=[running()]), delta(0, 2, ["start", "a", {}], ["text", "a", "a 👍🏽"]))
        for call in (
            client.stop("t", RUN),
            client.stop("t", RUN, seen={"a": 1}),
            client.stop("u", RUN),
            client.regenerate("t", "a"),
            client.edit("t", "q", "instead"),
            client.send("t", "now", on_busy="interrupt"),
            client.send("t", "later"),
        ):
            begin(call)
            await settled()
        seen = [frame.get("seen") for frame in server.pipe.sent if frame["type"] != "attach"]
        assert seen == [{"a": 4}, {"a": 1}, None, {"a": 4}, {"a": 4}, {"a": 4}, None]


# ----------------------------------------------------------------------------------------------------- the connection


@virtually
async def test_it_comes_back_for_ever_after_a_quarter_of_a_second_that_doubles_to_thirty() -> None:
    server = Server(random=lambda: 0.999_999)
    server.away = True
    server.client.start()
    await asyncio.sleep(200)
    waits = [round(later - earlier, 2) for earlier, later in zip(server.attempts, server.attempts[1:], strict=False)]
    assert waits[:10] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    await server.client.close()


@virtually
async def test_the_delay_is_anything_up_to_that_so_that_a_crowd_does_not_come_back_at_once() -> None:
    server = Server(random=lambda: 0.0)
    async with server.client:
        server.pipe.fall(1006)
        await settled()
        assert len(server.pipes) == 2


@pytest.mark.parametrize(("code", "delay"), [(1000, 0.25), (1006, 0.25), (4408, 0.25), (1012, 1.0), (1013, 8.0)])
def test_a_server_that_restarts_is_met_again_within_a_second_and_one_that_says_later_later(
    code: int, delay: float
) -> None:
    @virtually
    async def test() -> None:
        server = Server(random=lambda: 0.999_999)
        async with server.client as client:
            server.pipe.fall(code)
            await settled()
            assert round(client.connection.state.delay, 2) == delay

    test()


@virtually
async def test_a_connection_that_held_for_a_while_begins_the_delays_anew() -> None:
    server = Server(random=lambda: 0.999_999)
    delays = []
    async with server.client as client:
        for lived in (0.1, 0.1, 0.1, 6.0, 0.1):
            await asyncio.sleep(lived)
            server.pipe.fall(1006)
            await settled()
            delays.append(round(client.connection.state.delay, 2))
            await asyncio.sleep(delays[-1])
    assert delays == [0.25, 0.5, 1, 0.25, 0.5]


@virtually
async def test_a_server_that_is_silent_or_gives_no_welcome_is_given_up() -> None:
    server = Server()
    async with server.client as client:
        await asyncio.sleep(24)
        assert client.connection.live
        await asyncio.sleep(2)
        assert len(server.pipes) == 2
        server.welcoming = False
        server.pipe.fall(1006)
        await asyncio.sleep(20)
        assert len(server.pipes) == 4


@virtually
async def test_waking_ends_the_wait_and_replaces_a_connection_that_has_been_silent() -> None:
    server = Server()
    async with server.client as client:
        client.wake()
        await settled()
        assert len(server.pipes) == 1
        await asyncio.sleep(20)
        client.wake()
        await settled()
        assert len(server.pipes) == 2
        server.away = True
        server.pipe.fall(1006)
        await asyncio.sleep(100)
        server.away = False
        client.wake()
        await settled()
        assert client.connection.live


@virtually
async def test_a_heartbeat_is_answered_when_everything_before_it_was_applied() -> None:
    server = Server()

    class Late(Client):
        def receive(self, frame: dict[str, Any]) -> None:
            assert server.pipe.of_type("ack") == []
            super().receive(frame)

    async with Late("http://chat.test", open=server._open):
        await server.say({"type": "heartbeat", "n": 1, "server_time": ""})
        assert server.pipe.sent == [{"type": "ack", "n": 1}]


@virtually
async def test_an_error_of_the_program_in_a_hook_ends_the_client_and_is_told() -> None:
    server = Server()

    class Faulty(Client):
        def receive(self, frame: dict[str, Any]) -> None:
            super().receive(frame)
            if frame["type"] == "delta":
                raise LookupError("a fault of the program")

    with pytest.raises(LookupError):
        async with Faulty("http://chat.test", open=server._open) as client:
            waiting = begin(client.search("rain"))
            await server.say(delta(0, 1))
            with pytest.raises(LookupError):
                await waiting


# ---------------------------------------------------------------------------------------------------------- its server


@pytest.mark.parametrize(
    ("url", "address", "origin"),
    [
        ("https://chat.test", "wss://chat.test/ws/chat/", "https://chat.test"),
        ("wss://chat.test", "wss://chat.test/ws/chat/", "https://chat.test"),
        ("http://127.0.0.1:8000/", "ws://127.0.0.1:8000/ws/chat/", "http://127.0.0.1:8000"),
        ("ws://[::1]:8000", "ws://[::1]:8000/ws/chat/", "http://[::1]:8000"),
        ("HTTPS://chat.test/help/", "wss://chat.test/help/ws/chat/", "https://chat.test"),
        ("wss://chat.test/help/ws/chat/", "wss://chat.test/help/ws/chat/", "https://chat.test"),
        ("https://ann:secret@chat.test", "wss://ann:secret@chat.test/ws/chat/", "https://chat.test"),
    ],
)
def test_a_server_may_be_named_by_its_pages_or_by_its_websocket(url: str, address: str, origin: str) -> None:
    assert places(url) == (address, origin)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "chat.test",
        "chat.test:8000",
        "//chat.test",
        "https://",
        "https:chat.test",
        "ftp://chat.test",
        "wsws://chat.test",
        "http://chat.test:port",
        "http://chat.test:0",
        "http://chat.test/?token=rejoin_x",
        "http://chat.test/#top",
    ],
)
def test_a_url_that_no_server_can_have_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError):
        Client(url, token="rejoin_x")


def test_a_program_needs_this_folder_and_one_package(tmp_path: Path) -> None:
    (tmp_path / "websockets").symlink_to(Path(websockets.__file__).parent)
    code = "from chat.client import Client; print(Client('http://chat.test').url)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: nothing that is installed
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("http://chat.test\n", "")
