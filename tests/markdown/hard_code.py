"""Colours code that is made to be hard: ``python -m tests.markdown.hard_code NAME`` does so with the lexer of that
name, and is ended by the operating system when that takes so much of the processor that it may never end."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Iterator

from pygments.lexers import get_lexer_by_name

from chat import colours

PATIENCE = 10
"""Seconds of the processor. Each of the languages that are coloured takes two or so."""
LENGTH = 1_000
_PIECES = r'''
a a␣ a. a, a↵ a= a: a:␣ a; a( a< a[ a{ a? A. 0 0. 1e _ é ␣ ↵ ␣↵ \ \↵ ( [ { < (( [[ {{ ' " ` 'a "a '' "" /* /** /*! //
//↵ <!-- <![CDATA[ <? <?php␣ <% <a␣ <a␣b=' </ &a # #␣a↵ #if␣ #{ ${ $( $a @a @a( % %( =begin↵ <<A↵ <<-A␣ <<<A↵ """ ```
r# R"( R"a( q( s/ /a a/ a| - -␣ -- -> => :: class␣a␣ class␣a< def␣a( fn␣a< func␣( fun␣ function␣a( import␣a. import␣a,␣
using␣a. type␣a< public␣ new␣a␣ a␣b␣ void␣a( int␣a,␣ a␣a( if␣ do␣ case␣a␣ SELECT␣a,␣ FROM␣a↵ RUN␣a\↵ @@␣ +a↵ a[]␣ a<a>␣
'''
PIECES = [piece.replace("␣", " ").replace("↵", "\n") for piece in [*_PIECES.split(), "'''"]]
INSIDE = ["a", "a ", "a.", "a=", "\n", "\\", "(", "[", "{", "<", "'a", '"a']
BEGINNINGS = ["", '"', "/*", "<a b='", "(", "{", "@a(", "<script>"]


def texts() -> Iterator[str]:
    """Each piece again and again, and after each beginning those that may be inside of anything."""
    for beginning in BEGINNINGS:
        for piece in INSIDE if beginning else PIECES:
            yield (beginning + piece * LENGTH)[:LENGTH]


def as_it_is_coloured(text: str, name: str) -> str:
    """With breaks where it would not be coloured at all."""
    text = re.sub(r"[^\n]{900}(?=[^\n])", "\\g<0>\n", text)
    text = re.sub(r"\s{90}(?=\s)", "\\g<0>x", text)
    if hard := colours.HARD_FOR.get(get_lexer_by_name(name).name):
        while found := hard.search(text):
            middle = (found.start() + found.end()) // 2
            text = f"{text[:middle]}\n;{text[middle:]}"
    return text


def main(name: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    colours.LANGUAGES |= {name}  # type: ignore[misc]
    for text in texts():
        assert colours.coloured(as_it_is_coloured(text, name), name) is not None, text[:20]


if __name__ == "__main__":
    main(sys.argv[1])
