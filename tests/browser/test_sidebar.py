"""The list of chats: found, pinned, put away, renamed, deleted and brought back, on every device."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import Error, Locator, WebSocket, expect

from tests.browser.conftest import Reader, wait_for
from tests.browser.site import Site, ask

pytestmark = pytest.mark.processes

FILL = """
from datetime import timedelta
from django.utils import timezone
from chat.models import Inbox, Message, Thread
first, count = {first}, {count}
inbox, _ = Inbox.objects.get_or_create(user_id={user})
about = dict(owner_id={user}, version=1, row_version=1)
threads = [
    Thread(title=f"chat {{number}}", inbox_version=inbox.version + 1 + number, **about) for number in range(count)
]
Thread.objects.bulk_create(threads, batch_size=500)
Inbox.objects.filter(pk=inbox.pk).update(version=inbox.version + count)
for number, thread in enumerate(threads):
    thread.updated_at = timezone.now() - timedelta(seconds=count - number)
Thread.objects.bulk_update(threads, ["updated_at"], batch_size=500)
said = "Where is the\\nneedle, in all this hay?"
Message.objects.create(thread=threads[first], role="user", status="complete", text=said)
"""


def fill(site: Site, reader: Reader, count: int, first: int = 0) -> None:
    """Give the reader so many chats, "chat 0" the oldest; in the ``first`` somebody has asked for the needle."""
    user = reader.page.locator("body").get_attribute("data-user")
    site.manage("shell", "-v", "0", "-c", FILL.format(user=user, count=count, first=first))


def choose(reader: Reader, title: str, what: str, where: Locator | None = None) -> None:
    """From the menu of a chat."""
    item = (where or reader.items).filter(has_text=title).first
    item.hover()
    item.get_by_role("button", name="Options for").click()
    reader.page.get_by_role("menuitem", name=what, exact=True).click()


def titles(reader: Reader) -> list[str]:
    return [text.strip() for text in reader.items.locator(".title").all_text_contents()]


def shows(reader: Reader, *expected: str) -> None:
    """The list becomes exactly this."""
    wait_for(lambda: titles(reader) == list(expected), lambda: f"{expected} in the list, not {titles(reader)}")


@pytest.fixture
def three(site: Site, reader: Reader) -> Reader:
    """Somebody with three chats."""
    fill(site, reader, 3)
    reader.may_undo_for_long().open()
    shows(reader, "chat 2", "chat 1", "chat 0")
    return reader


# ------------------------------------------------------------------------------------------------------------ search


def test_search_finds_what_was_said_in_an_old_chat_and_opens_it(site: Site, reader: Reader) -> None:
    fill(site, reader, 150)
    reader.open()
    reader.page.keyboard.press("Control+k")
    expect(reader.page.get_by_label("Search chats")).to_be_focused()
    reader.page.keyboard.type("NEEDLE")
    found = reader.page.locator("#found .item")
    expect(found).to_have_count(1)
    expect(found.locator(".title")).to_have_text("chat 0")
    expect(found.locator(".excerpt")).to_have_text("Where is the needle, in all this hay?")
    expect(found.locator("mark")).to_have_text(["needle"])  # at last: after the first letter it was these
    expect(reader.page.get_by_text("1 chat", exact=True)).to_be_visible()
    expect(reader.items.first).to_be_hidden()
    reader.page.keyboard.press("ArrowDown")
    reader.page.keyboard.press("Enter")
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("chat 0")
    expect(reader.page.locator("#found [aria-current]")).to_have_count(1)
    reader.page.get_by_label("Search chats").press("Escape")
    expect(reader.items.first).to_be_visible()
    expect(found).to_have_count(0)


def test_enter_opens_what_is_asked_for_and_not_what_was_found_before(site: Site, three: Reader) -> None:
    field = three.page.get_by_label("Search chats")
    field.fill("chat 1")
    expect(three.page.locator("#found .item")).to_have_count(1)
    site.line.delay = 0.2
    field.fill("chat 2")
    field.press("Enter")
    expect(three.page.locator("#title")).to_have_text("chat 2")
    assert three.page.locator("#found .item").all_text_contents()


def test_search_comes_in_pages_and_says_when_there_is_nothing(site: Site, reader: Reader) -> None:
    fill(site, reader, 50)
    reader.open()
    field = reader.page.get_by_label("Search chats")
    field.fill("chat")
    found = reader.page.locator("#found .item")
    expect(found).to_have_count(20)
    expect(reader.page.get_by_text("More than 20 chats")).to_be_visible()
    for count in (40, 50):
        reader.page.get_by_role("button", name="More", exact=True).click()
        expect(found).to_have_count(count)
    expect(reader.page.get_by_role("button", name="More", exact=True)).to_be_hidden()
    field.fill("no such thing")
    expect(reader.page.get_by_text("No chat has “no such thing” in it.")).to_be_visible()
    expect(found).to_have_count(0)


def test_a_search_begun_without_a_connection_is_done_when_it_is_back(site: Site, three: Reader) -> None:
    with site.line.away():
        expect(three.connection).to_contain_text("Reconnecting in")
        three.page.get_by_label("Search chats").fill("needle")
        expect(three.page.get_by_text("Waiting for the connection")).to_be_visible()
    expect(three.page.locator("#found .item")).to_have_count(1)


# ----------------------------------------------------------------------------------------- pins, names, the archive


def test_pinned_chats_come_first_on_every_device(three: Reader, new_reader: Callable[..., Reader]) -> None:
    other = new_reader(three).open()
    choose(three, "chat 0", "Pin")
    for device in (three, other):
        shows(device, "chat 0", "chat 2", "chat 1")
    expect(three.item("chat 0").get_by_role("button")).to_be_focused()
    other.open()
    shows(other, "chat 0", "chat 2", "chat 1")
    choose(other, "chat 0", "Unpin")
    for device in (three, other):
        shows(device, "chat 2", "chat 1", "chat 0")


def test_archived_chats_leave_the_list_and_come_back_on_both_devices(
    three: Reader, new_reader: Callable[..., Reader]
) -> None:
    other = new_reader(three).open()
    choose(three, "chat 1", "Archive")
    for device in (three, other):
        shows(device, "chat 2", "chat 0")
    three.open()
    shows(three, "chat 2", "chat 0")
    for device in (three, other):
        device.page.get_by_role("button", name="Archived chats").click()
        shows(device, "chat 1")
    other.page.get_by_role("link", name="New chat").click()
    shows(other, "chat 2", "chat 0")
    other.page.get_by_role("button", name="Archived chats").click()
    choose(other, "chat 1", "Bring back")
    for device in (three, other):
        expect(device.page.get_by_text("Nothing is archived.")).to_be_visible()
        device.page.get_by_role("button", name="Archived chats").click()
        shows(device, "chat 2", "chat 1", "chat 0")


def test_putting_away_can_be_undone(three: Reader) -> None:
    choose(three, "chat 1", "Archive")
    shows(three, "chat 2", "chat 0")
    expect(three.page.get_by_text("“chat 1” is archived.")).to_be_visible()
    three.page.get_by_role("button", name="Undo").click()
    shows(three, "chat 2", "chat 1", "chat 0")


def test_a_new_name_shows_on_every_device_and_moves_nothing(three: Reader, new_reader: Callable[..., Reader]) -> None:
    three.item("chat 0").click()
    other = new_reader(three).open(f"/c/{three.thread}/")
    choose(three, "chat 0", "Rename")
    three.page.keyboard.type("A better name")
    three.page.keyboard.press("Enter")
    expect(three.item("A better name").get_by_role("link")).to_be_focused()
    for device in (three, other):
        shows(device, "chat 2", "chat 1", "A better name")
        expect(device.page.get_by_role("heading", level=1)).to_have_text("A better name")
        expect(device.page).to_have_title("A better name · Rejoin")
    choose(three, "chat 1", "Rename")
    three.page.keyboard.type("Never mind")
    three.page.keyboard.press("Escape")
    shows(three, "chat 2", "chat 1", "A better name")


def test_the_list_holds_still_under_who_writes_a_name(
    site: Site, three: Reader, new_reader: Callable[..., Reader]
) -> None:
    other = new_reader(three).open()
    choose(three, "chat 0", "Rename")
    three.page.keyboard.type("half a ")
    choose(other, "chat 0", "Pin")
    shows(other, "chat 0", "chat 2", "chat 1")
    other.item("chat 1").click()
    other.say(ask(text="Noted"))
    other.sees("Noted")
    three.page.keyboard.type("name")
    three.page.keyboard.press("Enter")
    for device in (three, other):
        shows(device, "half a name", "chat 1", "chat 2")


# ---------------------------------------------------------------------------------------------------------- deleting


def test_a_deletion_can_be_undone(three: Reader, new_reader: Callable[..., Reader]) -> None:
    other = new_reader(three).open()
    three.item("chat 1").click()
    address = three.page.url
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    expect(three.page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
    assert titles(other) == ["chat 2", "chat 1", "chat 0"], "elsewhere it is there until it can't be undone"
    three.page.get_by_role("button", name="Undo").click()
    shows(three, "chat 2", "chat 1", "chat 0")
    assert three.page.url == address
    expect(three.page.get_by_role("heading", level=1)).to_have_text("chat 1")
    three.open()
    shows(three, "chat 2", "chat 1", "chat 0")


def test_when_its_time_is_up_a_deleted_chat_is_gone_everywhere(
    three: Reader, new_reader: Callable[..., Reader]
) -> None:
    other = new_reader(three).open()
    other.item("chat 1").click()
    expect(other.page.get_by_role("heading", level=1)).to_have_text("chat 1")
    three.page.clock.install()
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    three.page.clock.fast_forward(8_000)
    expect(three.page.get_by_role("button", name="Undo")).to_be_hidden()
    shows(other, "chat 2", "chat 0")
    expect(other.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    three.open()
    shows(three, "chat 2", "chat 0")


@pytest.mark.parametrize("comes", ["hover", "focus"])
def test_a_deletion_can_be_undone_for_as_long_as_somebody_is_at_the_button(three: Reader, comes: str) -> None:
    three.page.clock.install()
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    undo = three.page.get_by_role("button", name="Undo")
    getattr(undo, comes)()
    three.page.clock.fast_forward(80_000)
    expect(undo).to_be_visible()
    getattr(three.composer, comes)()
    three.page.clock.fast_forward(7_000)
    expect(undo).to_be_visible()
    three.page.clock.fast_forward(1_000)
    expect(undo).to_be_hidden()


@pytest.mark.parametrize("how", ["reloading", "going elsewhere", "closing", "deleting another"])
def test_leaving_the_page_carries_a_deletion_out(three: Reader, new_reader: Callable[..., Reader], how: str) -> None:
    other = new_reader(three).open()
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    match how:
        case "reloading":
            three.open()
        case "going elsewhere":
            three.page.goto("about:blank")
        case "closing":
            three.page.close(run_before_unload=True)
        case "deleting another":
            choose(three, "chat 0", "Delete")
            expect(three.page.get_by_text("“chat 0” is deleted.")).to_be_visible()
    shows(other, "chat 2", "chat 0")


def test_with_a_chat_goes_what_was_being_written_in_it_unless_it_is_brought_back(three: Reader) -> None:
    three.item("chat 1").click()
    three.composer.fill("half a secret")
    choose(three, "chat 1", "Delete")
    three.page.get_by_role("button", name="Undo").click()
    expect(three.composer).to_have_value("half a secret")
    choose(three, "chat 1", "Delete")
    three.open()
    shows(three, "chat 2", "chat 0")
    assert "half a secret" not in three.page.evaluate("JSON.stringify(localStorage)")


def test_a_deletion_without_a_connection_is_carried_out_later(
    site: Site, three: Reader, new_reader: Callable[..., Reader]
) -> None:
    with site.line.away():
        expect(three.connection).to_contain_text("Reconnecting in")
        choose(three, "chat 1", "Delete")
        choose(three, "chat 0", "Delete")
        shows(three, "chat 2")
        three.page.get_by_role("button", name="Undo").click()
        shows(three, "chat 2", "chat 0")
    expect(three.connection).to_have_text("Live")
    other = new_reader(three).open()
    for device in (three, other):
        shows(device, "chat 2", "chat 0")


def test_a_browser_that_dies_deletes_nothing(three: Reader, new_reader: Callable[..., Reader]) -> None:
    other = new_reader(three).open()
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    with suppress(Error), three.page.expect_event("crash"):
        three.page.goto("chrome://crash")
    other.open()
    shows(other, "chat 2", "chat 1", "chat 0")


def test_a_chat_that_somebody_goes_on_with_elsewhere_is_not_deleted(
    three: Reader, new_reader: Callable[..., Reader]
) -> None:
    other = new_reader(three).open()
    other.item("chat 1").click()
    choose(three, "chat 1", "Delete")
    shows(three, "chat 2", "chat 0")
    other.say(ask(text="I was not done"))
    other.sees("I was not done")
    shows(three, "chat 1", "chat 2", "chat 0")
    expect(three.page.get_by_text("“chat 1” is not deleted: it goes on elsewhere.")).to_be_visible()
    expect(three.page.get_by_role("button", name="Undo")).to_be_hidden()


def test_a_second_press_closes_the_menu_of_a_chat(three: Reader) -> None:
    menu = three.page.get_by_role("menu")
    for name, is_open in (("chat 1", True), ("chat 1", False), ("chat 1", True), ("chat 2", True), ("chat 2", False)):
        three.item(name).hover()
        three.item(name).get_by_role("button").click()
        expect(menu).to_be_visible(visible=is_open)


# ----------------------------------------------------------------------------------------------------- by keyboard


def test_everything_works_by_keyboard_and_the_focus_stays_near(three: Reader) -> None:
    page = three.page
    three.item("chat 2").get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    expect(three.item("chat 1").get_by_role("link")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Pin")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("Escape")
    expect(three.item("chat 1").get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    shows(three, "chat 2", "chat 0")
    expect(three.item("chat 0").get_by_role("link")).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(three.item("chat 0").get_by_role("link")).to_be_focused()


def test_on_a_phone_all_that_is_touched_is_large_enough(site: Site, new_reader: Callable[..., Reader]) -> None:
    phone = new_reader(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).open()
    fill(site, phone, 3)
    phone.may_undo_for_long().open()
    phone.page.get_by_role("link", name="Open the list").tap()
    phone.item("chat 1").get_by_role("button").tap()
    controls = phone.page.locator(".sidebar :is(a, button, label, input, select):visible")
    sizes = [(control.evaluate("node => node.outerHTML"), control.bounding_box()) for control in controls.all()]
    assert len(sizes) > 12
    assert [html for html, box in sizes if box is None or box["height"] < 40 or box["width"] < 40] == []
    phone.page.get_by_role("menuitem", name="Delete").tap()
    shows(phone, "chat 2", "chat 0")
    phone.page.get_by_role("link", name="Close the list of chats").tap()
    undo, box = (phone.page.locator(name).bounding_box() for name in (".toast", ".composer"))
    assert undo and box and undo["y"] + undo["height"] < box["y"], "it covers nothing that one writes in"
    written_in = phone.page.locator("input, select, textarea")
    letters = written_in.evaluate_all("nodes => nodes.map((node) => parseFloat(getComputedStyle(node).fontSize))")
    assert len(letters) > 2 and min(letters) >= 16, "or the browser would enlarge the page"
    phone.page.get_by_role("button", name="Undo").tap()
    phone.page.get_by_role("link", name="Open the list").tap()
    shows(phone, "chat 2", "chat 1", "chat 0")


# -------------------------------------------------------------------------------------------------------- very many


def test_a_list_of_five_thousand_opens_with_its_newest_and_brings_the_rest_by_and_by(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    reader = new_reader().open()
    fill(site, reader, 5_000)
    frames: list[int] = []
    listed: list[int] = []

    def count(payload: str | bytes) -> None:
        frame = json.loads(payload)
        if frame["type"] == "inbox" or "items" in frame.get("result", {}):
            frames.append(len(payload.encode() if isinstance(payload, str) else payload))
            listed.append(len(frame.get("items", frame.get("result", {}).get("items", []))))

    def watch(socket: WebSocket) -> None:
        socket.on("framereceived", count)

    reader.page.on("websocket", watch)
    response = reader.page.goto("/")
    assert response is not None and len(response.body()) < 150_000
    expect(reader.connection).to_have_text("Live")
    expect(reader.items).to_have_count(100)
    assert frames == [], "who has the first view needs no more"
    assert titles(reader)[:2] == ["chat 4999", "chat 4998"]
    for shown in (200, 300, 400):
        reader.page.locator("#chats").evaluate("node => node.scrollTo(0, node.scrollHeight)")
        wait_for(lambda shown=shown: reader.items.count() >= shown, f"{shown} chats")  # type: ignore[misc]
    reader.scrolls_through_all_chats()
    expect(reader.items).to_have_count(5_000)
    assert titles(reader) == [f"chat {number}" for number in reversed(range(5_000))]
    assert listed == [100] * 49, "each page once"
    assert max(frames) < 65_536


# ------------------------------------------------------------------------------------------------------ one's own data


def test_a_guest_takes_everything_along_and_deletes_it_on_every_device(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="To be kept"))
    reader.sees("To be kept")
    reader.is_at_rest()
    thread = reader.thread
    reader.composer.fill("a draft")
    other = new_reader(reader).open(f"/c/{thread}/")
    reader.page.get_by_role("link", name="Guest").click()
    with reader.page.expect_download() as download:
        reader.page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "rejoin.json"
    [taken] = json.loads(download.value.path().read_text())["threads"]
    assert [row["text"] for row in taken["messages"]][1:] == ["To be kept"]
    reader.page.get_by_role("button", name="Delete everything").click()
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("Everything is deleted")
    wait_for(lambda: reader.page.evaluate("localStorage.length + sessionStorage.length") == 0, "the drafts to go")
    expect(other.items).to_have_count(0)
    expect(other.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    assert site.messages(thread) == []


def test_a_guest_who_signs_in_takes_the_chats_along_before(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Left behind"))
    reader.is_at_rest()
    reader.page.get_by_role("link", name="Sign in").click()
    expect(reader.page.get_by_text("there is no way back to them")).to_be_visible()
    reader.page.get_by_role("link", name="Take them along first").click()
    expect(reader.page.get_by_text("1 chat, with every message and every branch")).to_be_visible()
    expect(reader.page.get_by_role("link", name="Download")).to_be_visible()
