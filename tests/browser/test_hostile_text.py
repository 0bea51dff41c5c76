"""Texts that try to do more than be read, wherever a text can stand: none runs, loads, or has to be stopped."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Request, expect

from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask
from tests.markdown import hostile
from tests.markdown.reading import shown

pytestmark = pytest.mark.processes

ALL = "\n\n".join(hostile.TEXTS)
WATCH = """
  window.events = [];
  for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => events.push(`${name} ran`);
  addEventListener("securitypolicyviolation", (event) => events.push(`stopped: ${event.blockedURI} ${event.sample}`));
"""
STRANGE = """
  () => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const found = all("iframe, frame, object, embed, base, img, image, video, audio, style, math, [srcdoc]");
    found.push(...all("script:not([type=importmap], [type='application/json'], [src^='/static/'])"));
    found.push(...all("#log :is(script, link, meta, form, input, template, dialog), :is(#log, #items, h1) [style]"));
    for (const node of all("*")) {
      for (const { name, value } of node.attributes) {
        const leads = /href|src|action/.test(name) && !/^(https?:|mailto:|[/?#])/i.test(value);
        if (name.startsWith("on") || leads) found.push(node);
      }
    }
    return found.map((node) => node.outerHTML);
  }
"""
"""Elements and attributes that no page of ours has."""

FILL = """
from chat.models import Message, Thread
from tests.markdown import hostile

def put(thread, role, text, author=""):
    thread.version += 1
    thread.head = Message.objects.create(
        thread=thread, parent_id=thread.head_id, role=role, status="complete", text=text, author=author[:100],
        version=thread.version,
    )

for number, (kind, texts) in enumerate(hostile.KINDS.items()):
    thread = Thread(owner_id={user}, title=f"kind {{number}}", version=1, row_version=1)
    thread.touch_item()
    thread.save()
    for text in texts:
        put(thread, "user", text)
        put(thread, "assistant", text, author=text)
    thread.row_version = thread.version
    thread.save()
for text in hostile.TEXTS:
    thread = Thread(owner_id={user}, title=text[:200], version=1, row_version=1)
    thread.touch_item()
    thread.save()
"""


class Watch:
    """Notes what a page does that it should not."""

    def __init__(self, site: Site, reader: Reader) -> None:
        self.page = reader.page
        self.elsewhere: list[str] = []
        self.page.on("request", lambda request: self._note(request, site.url))
        self.page.on("dialog", lambda dialog: self.elsewhere.append(dialog.message))
        self.page.add_init_script(WATCH)
        self.page.reload()
        expect(reader.connection).to_have_text("Live")

    def _note(self, request: Request, own: str) -> None:
        if not request.url.startswith(own):
            self.elsewhere.append(request.url)

    def is_quiet(self) -> None:
        assert self.page.evaluate(STRANGE) == []
        assert self.page.evaluate("events") == []
        assert self.elsewhere == []
        answers: list[Any] = self.page.locator(".text.markdown").evaluate_all(
            "nodes => nodes.map((node) => node.innerHTML.replaceAll(/<button[^>]*>Copy<.button>/g, ''))"
        )
        assert [excess for html in answers for excess in hostile.excesses(html)] == []


def test_what_a_model_says_does_nothing_while_it_comes_and_when_it_has_come(site: Site, reader: Reader) -> None:
    watch = Watch(site, reader)
    site.model.control("scripts", {"hostile": {"text": ALL, "size": 23, "pause": 0.001}})
    reader.say("script:hostile")
    reader.sees(ALL)
    expect(reader.messages.last).to_have_attribute("data-status", "complete")
    watch.is_quiet()
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    assert texts(reader.answers) == [shown(ALL)]
    watch.is_quiet()


def test_what_a_person_writes_does_nothing(site: Site, reader: Reader) -> None:
    watch = Watch(site, reader)
    written = f"{ask(text='Indeed')}\n{ALL}"
    reader.say(written)
    reader.sees("Indeed")
    assert texts(reader.messages.locator(".text"))[0] == written
    watch.is_quiet()
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    assert texts(reader.messages.locator(".text"))[0] == written
    watch.is_quiet()


def test_titles_authors_and_histories_do_nothing_however_they_come_onto_the_page(site: Site, reader: Reader) -> None:
    watch = Watch(site, reader)
    user = reader.page.locator("body").get_attribute("data-user")
    site.manage("shell", "-v", "0", "-c", FILL.format(user=user))
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    expect(reader.items).to_have_count(100)
    reader.scrolls_through_all_chats()
    expect(reader.items).to_have_count(len(hostile.KINDS) + len(hostile.TEXTS))
    watch.is_quiet()
    for number, said in enumerate(hostile.KINDS.values()):
        reader.item(f"kind {number}").filter(has_text=f"kind {number}").last.locator("a").click()
        expect(reader.page.locator("h1")).to_have_text(f"kind {number}")
        expect(reader.messages).to_have_count(min(50, 2 * len(said)))
        assert texts(reader.answers) == list(map(shown, said))[-25:]
        watch.is_quiet()
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    watch.is_quiet()


def test_a_title_that_is_typed_does_nothing(site: Site, reader: Reader) -> None:
    watch = Watch(site, reader)
    reader.say("Call it something")
    for title in ("<img src=x onerror=alert(1)>", "</title><script>alert(1)</script>", "{{ request.csp_nonce }}"):
        reader.items.first.hover()
        reader.page.get_by_role("button", name="Options for").first.click()
        reader.page.get_by_role("menuitem", name="Rename").click()
        reader.page.keyboard.type(title)
        reader.page.keyboard.press("Enter")
        expect(reader.page).to_have_title(f"{title} · Rejoin")
        expect(reader.items.first).to_have_text(title)
        watch.is_quiet()


def test_what_a_models_server_says_of_an_error_is_not_shown(site: Site, reader: Reader) -> None:
    watch = Watch(site, reader)
    site.model.control("models", {"models": hostile.TEXTS[:40]})
    reader.say(ask(status=400, body={"error": {"message": ALL[:2000], "code": "<script>alert(1)</script>"}}))
    note = reader.messages.last.locator(".note")
    expect(note).to_contain_text("refused")
    assert "script" not in (note.text_content() or "")
    watch.is_quiet()
