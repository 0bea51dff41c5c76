"""The page in other languages: all that it says is in each catalog, and a browser gets the language it asks for."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import AsyncClient, Client
from django.utils import translation
from django.utils.translation.template import templatize

from chat import languages, tokens, views
from chat.errors import CODES
from tests.servers.process import ROOT

LANGUAGES = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
DOMAINS = ("django", "djangojs")
STRING = r'"((?:[^"\\]|\\.)*)"'
ENTRY = re.compile(rf"^msgid {STRING}\n(?:msgid_plural {STRING}\n)?((?:msgstr.*\n)+)", re.MULTILINE)
PLACE = re.compile(r"%\(\w+\)\w|\{\w+\}|<[^>]*>")
PLACES = re.compile(r"\$\{[^}]*\}")
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))

Catalog = dict[str, list[str]]


def compiled(language: str, domain: str) -> Catalog:
    """What Django reads."""
    with (ROOT / f"locale/{language}/LC_MESSAGES/{domain}.mo").open("rb") as file:
        known = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    catalog: Catalog = {}
    for key, text in known.items():
        if key:
            catalog.setdefault(key if isinstance(key, str) else key[0], []).append(text)
    return catalog


def written(language: str, domain: str) -> Catalog:
    """What translators write."""
    text = (ROOT / f"locale/{language}/LC_MESSAGES/{domain}.po").read_text()
    assert ", fuzzy" not in text, "guesses are no translations"
    entries = {found[1]: re.findall(rf"^msgstr.* {STRING}$", found[3], re.MULTILINE) for found in ENTRY.finditer(text)}
    return {plain(key): [plain(form) for form in forms] for key, forms in entries.items() if key}


def plain(text: str) -> str:
    return text.replace('\\"', '"')


def said(domain: str) -> set[str]:
    """All that the code says in its own English."""
    if domain == "djangojs":
        modules = (path.read_text() for path in (ROOT / "static").rglob("*.js"))
        return {found for text in modules for found in re.findall(rf"\bn?gettext\(\s*{STRING}", text)}
    return {*in_templates(), *in_python()}


def in_templates() -> Iterator[str]:
    for path in TEMPLATES:
        for found in re.finditer(
            r"\bn?gettext\(\s*u?(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\"\"\".*?\"\"\")|\b_\((\"[^\"]*\")\)",
            templatize(path.read_text()),
            re.DOTALL,
        ):
            yield ast.literal_eval(found[1] or found[2])


def in_python() -> Iterator[str]:
    for path in (ROOT / "chat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_catalog_has_all_that_is_said_and_nothing_else(language: str, domain: str) -> None:
    assert set(compiled(language, domain)) == said(domain)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_read_is_what_was_written(language: str, domain: str) -> None:
    """After a change of the .po: manage.py compilemessages."""
    assert compiled(language, domain) == written(language, domain)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_translations_keep_their_places_for_values(language: str, domain: str) -> None:
    for english, forms in compiled(language, domain).items():
        for form in forms:
            assert sorted(PLACE.findall(form)) == sorted(PLACE.findall(english)), english


# ------------------------------------------------------------------------------------------- nothing is left out of it


CODE = re.compile(
    r"\{% blocktranslate.*?endblocktranslate %\}|\{% block (?:body_attributes|kind) %\}.*?\{% endblock %\}"
    r"|\{%.*?%\}|\{\{.*?\}\}",
    re.DOTALL,
)
"""What stands in a template and is no word of its own: what is translated, attributes in blocks, tags, variables."""


class Words(HTMLParser):
    """The words that stand in a template as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.found += [
            value or "" for name, value in attributes if name in ("aria-label", "title", "placeholder", "alt")
        ]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("kbd", "script"):
            self.found.append(data)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_words_that_are_in_english_only(path: Path) -> None:
    text = CODE.sub("", path.read_text())
    words = Words()
    words.feed(text)
    assert {found.strip(" ·\n") for found in words.found if re.search("[A-Za-z]", found)} <= {"Rejoin"}


@pytest.mark.parametrize("path", sorted((ROOT / "static/chat/page").glob("*words.js")), ids=lambda path: path.name)
def test_a_module_has_no_words_that_are_in_english_only(path: Path) -> None:
    code = re.sub(r"/\*.*?\*/|//[^\n]*|^import[^\n]*", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    outside = re.sub(rf"\bgettext\(\s*{STRING}|\bngettext\(\s*{STRING},\s*{STRING}", "", code)
    assert [
        found
        for found in re.findall(rf"{STRING}|`([^`]*)`", outside)
        if re.search("[A-Z“]|[a-z] [a-z]", PLACES.sub("", "".join(found)))
    ] == []


def test_every_error_that_a_person_can_meet_is_there() -> None:
    classes = {kind.__name__ for kind in CODES.values()}
    texts = {kind.text for kind in CODES.values()}
    rooms = [*ROOT.glob("chat/actions/*.py"), *ROOT.glob("chat/generation/*.py"), ROOT / "chat/consumers.py"]
    for path in rooms:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                texts |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    assert texts <= said("djangojs")


# ---------------------------------------------------------------------------------------------- who gets which language


@pytest.mark.parametrize(
    ("asked", "code", "heading"),
    [("de-AT,de;q=0.9,en;q=0.5", "de", "Anmelden"), ("en-GB", "en", "Sign in"), ("tlh, xx", "en", "Sign in")],
)
def test_a_browser_gets_the_language_it_asks_for_or_english(asked: str, code: str, heading: str) -> None:
    response = Client(headers={"Accept-Language": asked}).get("/login/")
    page = response.content.decode()
    assert f'<html lang="{code}">' in page
    assert f"<h1>{heading}</h1>" in page
    assert "Accept-Language" in response["Vary"]


@pytest.mark.parametrize("address", ["/", "/account/data/"])
@pytest.mark.django_db(transaction=True)
async def test_a_page_that_is_made_on_another_thread_speaks_it_too(settings: Any, address: str) -> None:
    settings.DEBUG = True  # and so guests may come in
    browser = AsyncClient()
    await browser.get("/")
    page = (await browser.get(address, headers={"Accept-Language": "de"})).content.decode()
    assert '<html lang="de">' in page
    assert "Neuer Chat" in page or "Deine Daten" in page


def test_a_note_is_in_the_language_of_its_reader() -> None:
    row = {"status": "complete", "role": "assistant", "error": None, "run": "r"}
    failed = {"status": "failed", "role": "assistant", "error": CODES["provider_timeout"]().as_dict(), "run": "r"}
    run = {"left_out": 2, "state": "completed", "error": None, "place": None}
    with translation.override("de"):
        assert views.note(row, run, False) == "2 frühere Nachrichten passten nicht hinein und wurden weggelassen"
        assert views.note(row, {**run, "left_out": 1}, False).startswith("1 frühere Nachricht passte")
        assert views.note(failed, run, False) == "Das Modell hat nicht rechtzeitig geantwortet."
        assert languages.words("{not} known", **{"not": "still"}) == "still known"


def test_english_needs_no_catalog() -> None:
    with translation.override("en"):
        assert languages.catalog() == {"language": "en", "messages": {}}


def test_a_limit_is_told_in_the_language_of_who_meets_it(
    db: None, monkeypatch: pytest.MonkeyPatch, django_user_model: type
) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 0)
    client = Client(headers={"Accept-Language": "de"})
    client.force_login(django_user_model.objects.create_user("ann"))  # type: ignore[attr-defined]
    page = client.post("/account/", {"name": "mine", "days": "7"}).content.decode()
    assert "Mehr als 0 Token kann niemand haben." in page
