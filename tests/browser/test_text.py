"""Answers as they grow: what is on the screen is so much of the source, never less, and exactly what a stop keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from chat import markdown
from tests.browser.conftest import TEXTS, Reader, growth, texts, wait_for
from tests.browser.site import Site, ask
from tests.browser.test_answers import is_settled
from tests.markdown.reading import shown

pytestmark = pytest.mark.processes

DOCUMENTS = sorted((Path(__file__).parents[1] / "markdown" / "documents").glob("*.md"))
PROSE = """\
# The plan

First **bold words**, then `code`, a [link](https://e.example/) and *more* 🙂👩‍🚀.

1. one
2. two
   - inner **one**
   - inner two

   A paragraph of two.
3. three

| left | right |
|:-----|------:|
| a    | 1     |
| b    | 2     |

"""
CODE = """\
```python
def answer(question: str) -> int:
    \"\"\"Takes a while.\"\"\"
    return 42  # as is known
```

"""
END = """\
> A quotation,
> in two lines.

שלום *עולם*, and the end.
"""
MIXED = PROSE + CODE + END
WATCH = f"""
  {TEXTS}
  window.pictures = [];
  window.bodies = new Set();
  window.lost = [];
  const finished = new Set();
  const look = () => {{
    const body = document.querySelector('.message[data-role="assistant"] .text');
    if (body === null || document.readyState === "loading") return;
    bodies.add(body);
    const text = textOf(body);
    if (text !== pictures.at(-1)) pictures.push(text);
    for (const block of finished) if (!block.isConnected) lost.push(block.outerHTML);
    for (const block of body.children) if (block.nextElementSibling !== null) finished.add(block);
  }};
  new MutationObserver(look).observe(document, {{ subtree: true, childList: true, characterData: true }});
  document.addEventListener("readystatechange", look);
"""
"""Keeps pictures of the first answer, whenever it has changed, and what has gone of its blocks that others follow."""


def pictures(reader: Reader) -> list[str]:
    """What WATCH has seen. No block that was finished may have gone, nor the answer's own node."""
    assert reader.page.evaluate("lost") == []
    assert reader.page.evaluate("bodies.size") == 1
    found: list[str] = reader.page.evaluate("pictures")
    return found


def test_an_answer_only_ever_grows_and_its_finished_blocks_stay(site: Site, reader: Reader) -> None:
    reader.page.evaluate(WATCH)
    reader.say(ask(text=MIXED * 2, size=3, pause=0.003))
    reader.sees(MIXED * 2)
    is_settled(site, reader)
    seen = pictures(reader)
    assert len(seen) > 5, "it came in pieces"
    growth(seen, MIXED * 2)


@pytest.mark.parametrize("where", ["a list", "open code"])
def test_a_refresh_in_the_middle_has_the_text_in_the_first_paint_and_goes_on_from_there(
    site: Site, reader: Reader, where: str
) -> None:
    at = len(MIXED) + (PROSE + CODE).index("inner two" if where == "a list" else "return")
    reader.say(ask(text=MIXED * 2, size=1, gate="half", after=at, pause=0.002))
    reader.sees((MIXED * 2)[:at])
    reader.page.add_init_script(WATCH)
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    reader.sees((MIXED * 2)[:at])
    site.model.open_gate("half")
    reader.sees(MIXED * 2)
    is_settled(site, reader)
    lengths = growth(pictures(reader), MIXED * 2)
    assert pictures(reader)[0] == shown((MIXED * 2)[:at]), "not all of it was in the first paint"
    assert len(lengths) > 2


@pytest.mark.parametrize("rate", [1, 4])
def test_what_was_on_the_screen_at_stop_is_what_stays_on_every_device(
    site: Site, reader: Reader, new_reader: Callable[..., Reader], rate: int
) -> None:
    """Also where the browser is too slow to draw what arrives."""
    text = MIXED * 20
    reader.say(ask(text=text, size=5, pause=0.01, gate="go", after=20))
    reader.sees(text[:100])
    other = new_reader(reader).open(f"/c/{reader.thread}/")
    reader.page.context.new_cdp_session(reader.page).send("Emulation.setCPUThrottlingRate", {"rate": rate})
    # While the stop is on its way, parts that were sent before it keep coming: they are not shown.
    reader.page.evaluate(WATCH)
    site.model.open_gate("go")
    wait_for(lambda: len("".join(texts(reader.answers))) > 400, "some of the answer")
    site.line.delay = 0.25
    reader.composer.press("Escape")
    [screen] = texts(reader.answers)
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    assert texts(reader.answers) == [screen]
    is_settled(site, reader)
    answer = site.messages(reader.thread)[-1]["text"]
    assert text.startswith(answer) and len(answer) < len(text)
    assert screen == shown(answer)
    seen = pictures(reader)
    assert seen[-1] == screen
    growth(seen[-30:], answer)
    wait_for(lambda: texts(other.answers) == [screen], "the other device to show the same")
    is_settled(site, other)


def test_a_stop_before_the_first_word_keeps_none(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Too late", gate="start", after=0, reasoning=3))
    expect(reader.life).to_contain_text("Waiting for the model")
    site.line.delay = 0.25
    reader.composer.press("Escape")
    site.model.open_gate("start")
    expect(reader.page.get_by_role("button", name="Stop")).to_be_hidden()
    assert texts(reader.answers) in ([], [""])
    assert [row["text"] for row in site.messages(reader.thread)[1:]] in ([], [""])


def test_code_is_coloured_when_the_answer_is_complete_and_no_sooner(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED, gate="half", after=len(PROSE + CODE) // 4 + 4))
    expect(reader.answer.locator(".code")).to_be_visible()
    expect(reader.answer.locator(".code .k")).to_have_count(0)
    site.model.open_gate("half")
    expect(reader.answer.locator(".code .k").first).to_be_visible()
    is_settled(site, reader)
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    expect(reader.answer.locator(".code .k").first).to_be_visible()
    is_settled(site, reader)


def test_code_is_copied_by_its_button_also_from_the_keyboard(site: Site, reader: Reader) -> None:
    reader.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.say(ask(text=MIXED))
    reader.sees(MIXED)
    button = reader.answer.get_by_role("button", name="Copy")
    for press in (lambda: button.click(), lambda: button.press("Enter")):
        reader.page.evaluate("navigator.clipboard.writeText('')")
        press()
        expect(button).to_have_attribute("data-said", "Copied")
        expect(reader.page.locator("#announcer")).to_have_text("Copied")
        code = CODE.removeprefix("```python\n").removesuffix("```\n\n")
        assert reader.page.evaluate("navigator.clipboard.readText()") == code
        expect(button).not_to_have_attribute("data-said", "Copied")
    expect(button).to_be_focused()


def test_who_selects_an_answer_has_what_it_says_and_no_words_of_the_page(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED))
    reader.sees(MIXED)
    is_settled(site, reader)
    reader.answer.evaluate("node => getSelection().selectAllChildren(node)")
    selected = reader.page.evaluate("String(getSelection())")
    assert "one" in selected and "Copy" not in selected and "python" not in selected.splitlines()


def test_what_is_selected_stays_selected_while_the_answer_goes_on(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED, gate="half", after=len(PROSE) // 4 + 1))
    reader.sees(MIXED[: (len(PROSE) // 4 + 1) * 4])
    reader.answer.locator("li").first.evaluate("node => getSelection().selectAllChildren(node)")
    site.model.open_gate("half")
    reader.sees(MIXED)
    is_settled(site, reader)
    assert reader.page.evaluate("String(getSelection())").strip() == "one"


def test_there_is_one_cursor_and_it_stands_behind_the_last_word(site: Site, reader: Reader) -> None:
    reader.say(ask(text="x", gate="never", after=1))
    reader.sees("x")
    for document in DOCUMENTS:
        html = f"<p>before</p>\n{markdown.parser().render(document.read_bytes().decode())}"
        last = reader.answer.evaluate(CURSORS, html)
        assert last in ([True], []), (document.name, last)
        if last == []:
            assert html.endswith("<hr>\n"), document.name


def test_the_cursor_goes_when_the_answer_is_complete(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED, gate="half", after=20))
    reader.sees(MIXED[:80])
    assert reader.answer.evaluate(CURSORS) == [True]
    site.model.open_gate("half")
    reader.sees(MIXED)
    is_settled(site, reader)
    assert reader.answer.evaluate(CURSORS) == []


CURSORS = """
  (body, html) => {
    if (html) {
      body.innerHTML = html;
      body.lastElementChild.dataset.growing = "";
    }
    const has = (node) => getComputedStyle(node, "::after").content !== "none";
    const cursors = [...body.querySelectorAll("*")].filter(has);
    return cursors.map((node) => {
      const rest = document.createRange();
      rest.setStartAfter(node);
      rest.setEndAfter(body.lastChild);
      return rest.toString().trim() === "";
    });
  }
"""
"""For each element that has the cursor, whether no text stands behind it."""


def test_right_to_left_text_has_its_markers_on_the_right_and_its_code_on_the_left(site: Site, reader: Reader) -> None:
    reader.say(ask(text="In English.\n\n- שלום\n- **עולם**\n\n> ציטוט\n\n```\nקוד = 1\n```\n"))
    expect(reader.messages.last).to_have_attribute("data-status", "complete")
    directions = reader.answer.evaluate("body => [...body.children].map((node) => getComputedStyle(node).direction)")
    assert directions == ["ltr", "rtl", "rtl", "ltr"]
    marker = reader.answer.locator("ul").evaluate("node => getComputedStyle(node).paddingRight")
    assert float(marker.removesuffix("px")) > 10


def test_wide_tables_and_code_scroll_by_themselves_on_a_phone(site: Site, new_reader: Callable[..., Reader]) -> None:
    row = "|" + " a rather wide cell |" * 12 + "\n"
    text = f"{row}|{'---|' * 12}\n{row}\n```\n{'x = 1; ' * 60}\n```\n\n{'endless' * 40}\n"
    phone = new_reader(viewport={"width": 390, "height": 780}, is_mobile=True, has_touch=True).open()
    phone.composer.fill(ask(text=text))
    phone.page.get_by_role("button", name="Send").tap()
    phone.sees(text)
    expect(phone.messages.last).to_have_attribute("data-status", "complete")
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.page.evaluate("scroller.scrollWidth - scroller.clientWidth") == 0
    for wide in (".table", "pre"):
        scrolls = "node => [node.scrollWidth > node.clientWidth, node.clientWidth < 390, node.tabIndex]"
        assert phone.answer.locator(wide).evaluate(scrolls) == [True, True, 0]
