"""The Markdown of answers, as HTML, for the first paint and for who reads without JavaScript.

``static/chat/markdown/parser.js`` makes the same of it in the browser; tests/markdown holds the two together. Nothing
that comes out runs or loads anything: no HTML of the text's own, no images, and links to the web and to mail only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from django.core.cache import cache
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.rules_block import StateBlock, paragraph
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chat.colours import coloured

LINK = re.compile(r"(https?:|mailto:)", re.IGNORECASE)
HEADINGS_BELOW = 2
"""The page's own headings are the first two."""
MOST_MARKS = 10_000
MOST_LOOKED_AT = 2_000_000
"""Of a whole text. What comes after so many is shown as it is: parsing takes time that grows with their square. For
each bracket, and for each ``//`` of an address, its paragraph is looked at: so many characters in all."""
MOST_TEXT = 200_000
MOST_LINES = 10_000
"""Of a text that is parsed, the first in UTF-16's units, as the browser counts. The lines after that are one piece of
code: they are shown as they are."""
DEEPEST = 20
"""Levels, of which a list has two. What is nested deeper is a paragraph: each level may look at all lines below it."""
MOST_COLOURED = 50_000
"""Characters of code that are coloured in one answer."""
MOST_KEPT = 256 * 1024
"""Bytes of the longest HTML that is kept."""
VERSION = 3
"""Raised when the same text would give other HTML than before."""


def parser() -> MarkdownIt:
    """A parser whose HTML is that of the browser's."""
    markdown = MarkdownIt("js-default", {"html": False, "linkify": True})
    # "README.md" is no address, although .md is a country's.
    markdown.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]
    markdown.validateLink = lambda url: LINK.match(url) is not None  # type: ignore[method-assign]
    markdown.inline.ruler.before("escape", "lone_backslash", _lone_backslash)
    markdown.block.ruler.before("table", "deep", _deep)
    markdown.core.ruler.before("block", "shortened", _shorten)
    markdown.core.ruler.after("block", "rest", _add_rest)
    markdown.core.ruler.before("inline", "bounded", _bound)
    markdown.core.ruler.push("guarded", _guard)
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("code_block", _code_block)
    markdown.add_render_rule("table_open", _table)
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


def render(text: str) -> SafeString:
    """A complete answer's HTML, its code coloured. Takes a fifth of a second for 100 kB the first time, and seconds for
    one that is made to be hard: call it where it keeps nobody else."""
    key = f"markdown.{VERSION}.{sha256(text.encode()).hexdigest()}"
    html: str | None = cache.get(key)
    if html is None:
        html = parser().render(text, {"to_colour": MOST_COLOURED})
        if len(html.encode()) <= MOST_KEPT:
            cache.set(key, html)
    return SafeString(html)


def render_growing(text: str) -> SafeString:
    """The HTML of an answer so far: what the browser makes of it, which goes on from there, and colours nothing yet."""
    return SafeString(parser().render(text))


# ------------------------------------------------------------------------------------------------------------ rules


def _lone_backslash(state: StateInline, silent: bool) -> bool:
    """What the browser's parser knows and this port of it does not yet: before a space, a backslash is one, and the
    space is no part of it."""
    if not state.src.startswith("\\ ", state.pos):
        return False
    if not silent:
        state.push("text_special", "", 0).content = "\\"
    state.pos += 1
    return True


def _shorten(state: StateCore) -> None:
    until = _reach(state.src)
    state.env["rest"], state.src = state.src[until:], state.src[:until]


def _add_rest(state: StateCore) -> None:
    if rest := state.env["rest"]:
        state.tokens.append(Token("code_block", "code", 0, content=rest))


def _reach(text: str) -> int:
    """Up to where it is parsed: a line's beginning, or all of it."""
    lines = text.split("\n", MOST_LINES)
    within = text.encode("utf-16-le", "surrogatepass")[: 2 * MOST_TEXT].decode("utf-16-le", "ignore")
    if len(lines) <= MOST_LINES and within == text:
        return len(text)
    left = lines[MOST_LINES] if len(lines) > MOST_LINES else ""
    return text.rfind("\n", 0, min(len(text) - len(left), len(within))) + 1


def _deep(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    return state.level >= DEEPEST and paragraph(state, line, end, silent)


def _bound(state: StateCore) -> None:
    marks = looked_at = 0
    for token in state.tokens:
        if token.type != "inline":
            continue
        marks += sum(token.content.count(mark) for mark in "*_~`")
        looked_at += (token.content.count("[") + token.content.count("//")) * len(token.content)
        if marks > MOST_MARKS or looked_at > MOST_LOOKED_AT:
            token.type = "text"


def _guard(state: StateCore) -> None:
    """Links leave the page and take nothing along, images become links, headings go below the page's own. Each
    outermost block is written in the direction of its first letter. Columns are aligned by classes: the page allows no
    styles."""
    for token in state.tokens:
        if token.level == 0 and token.nesting == 1:
            token.attrSet("dir", "auto")
        if style := token.attrGet("style"):
            token.attrs = {"class": str(style).replace("text-align:", "")}
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + HEADINGS_BELOW)}"
        if token.type == "inline":
            token.children = _guard_inline(token.children or [])


def _guard_inline(tokens: Sequence[Token]) -> list[Token]:
    guarded: list[Token] = []
    links = 0
    for token in tokens:
        if token.type == "link_open":
            links += 1
            _leave(token)
        elif token.type == "link_close":
            links -= 1
        elif token.type == "image":
            source = str(token.attrGet("src") or "")
            text = Token("text", "", 0, content=token.content or source)
            if links > 0 or not source:
                guarded.append(text)
                continue
            opening = Token("link_open", "a", 1, attrs={"href": source})
            _leave(opening)
            guarded += [opening, text, Token("link_close", "a", -1)]
            continue
        guarded.append(token)
    return guarded


def _leave(link: Token) -> None:
    link.attrSet("target", "_blank")
    link.attrSet("rel", "noopener noreferrer nofollow")


def _table(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return f'<div class="table" tabindex="0"{renderer.renderAttrs(tokens[index])}><table>\n'


def _fence(_: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    name = _language(token)
    label = f'<p class="language">{escapeHtml(name)}</p>' if name else ""
    code = None
    if 0 < len(token.content) <= env.get("to_colour", 0) and (code := coloured(token.content, name)) is not None:
        env["to_colour"] -= len(token.content)
    return _piece(label, escapeHtml(token.content) if code is None else code)


def _code_block(_: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return _piece("", escapeHtml(tokens[index].content))


def _piece(label: str, code: str) -> str:
    return f'<div class="code" dir="ltr">{label}<pre tabindex="0"><code>{code}</code></pre></div>\n'


def _language(token: Token) -> str:
    return next(iter(unescapeAll(token.info).split()), "")
