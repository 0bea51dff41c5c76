"""The page in its reader's language.

What stands in templates and forms is said by Django's own machinery (locale/*/LC_MESSAGES/django.po). What the page's
modules say, and the server in their place until they run, is in djangojs.po: the pages hand :func:`catalog` to the
modules (static/chat/page/language.js), and say themselves what they have to say of a message by :func:`words`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.utils.translation import get_language, override
from django.utils.translation.trans_real import DjangoTranslation
from django.views.i18n import JavaScriptCatalog

P = ParamSpec("P")
T = TypeVar("T")


def kept(function: Callable[P, T]) -> Callable[P, T]:
    """The function in the language that is spoken here and now, for another thread to call: a thread has none."""
    language = _spoken()

    @wraps(function)
    def speaking(*args: P.args, **kwargs: P.kwargs) -> T:
        with override(language):
            return function(*args, **kwargs)

    return speaking


def catalog() -> dict[str, Any]:
    """The language that is spoken now, and its messages by their English words; those that count as a list of forms."""
    language = _spoken()
    view = JavaScriptCatalog()
    view.translation = _translation(language)  # where Django's own view puts it
    return {"language": language, "messages": view.get_catalog()}


def words(english: str, **values: object) -> str:
    """A sentence of the page's modules, or of an error. ``{name}`` in it stands for the value of that name."""
    sentence = _translation(_spoken()).gettext(english)
    return sentence.format(**values) if values else sentence


def words_for(count: int, one: str, many: str) -> str:
    """A sentence of the page's modules that depends on a number, which it can name as ``{count}``."""
    return _translation(_spoken()).ngettext(one, many, count).format(count=count)


def _spoken() -> str:
    return get_language() or settings.LANGUAGE_CODE


@lru_cache
def _translation(language: str) -> DjangoTranslation:
    return DjangoTranslation(language, domain="djangojs", localedirs=settings.LOCALE_PATHS)
