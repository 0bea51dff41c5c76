"""Code, coloured: in languages whose lexers were found to take time that grows with the code, whatever it is.

Most lexers of Pygments can be made to work for minutes by a few words, and some for ever, while nothing else runs in
the process. tests/markdown/test_coloured_code.py keeps these to what was found of them.
"""

from __future__ import annotations

import re

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

_NAMES = """
python py python3 pycon javascript js jsx typescript ts tsx json html xml css scss less php
yaml yml toml ini cfg sql bash sh shell zsh console shell-session powershell ps1 pwsh batch bat
c cpp c++ csharp c# cs objective-c objc java kotlin swift dart go golang rust rs ruby rb perl lua
r julia haskell hs ocaml fsharp elixir erlang clojure
diff docker dockerfile nginx terraform tf hcl make makefile cmake graphql protobuf proto latex tex vim
"""
LANGUAGES = frozenset(_NAMES.split())
"""As those who write Markdown name them, and Pygments knows them."""
MOST_CODE = 10_000
"""Characters of the longest piece that is coloured."""
HARD = re.compile(r"[^\n]{1000}|\s{100}")
"""What nobody writes, and many lexers look at again and again: a very long line, or so much white space …"""
_WORDS = re.compile(r"[\w.\[\]$<>?@\s]{300}")
_HEREDOCS = re.compile(r"(?:<<[-~]?[\"'`\w][^\n<]*){4}")
HARD_FOR = {"Java": _WORDS, "C#": _WORDS, "Ruby": _HEREDOCS}
"""… and some: what may be the head of a method, for so long, or several here-documents in a line."""


def coloured(code: str, language: str) -> str | None:
    """The code as HTML, each colour a class; None where it is to be shown without."""
    if language.lower() not in LANGUAGES or len(code) > MOST_CODE or HARD.search(code):
        return None
    lexer = get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    if (hard := HARD_FOR.get(lexer.name)) is not None and hard.search(code):
        return None
    html: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    # The formatter ends every line, also the one of code that is cut off in the middle.
    return html if code.endswith("\n") else html.removesuffix("\n")
