"""The page's JavaScript modules: ours, and of each package from npm the one file that the page imports.

Called by the pages; PackageFinder is one of STATICFILES_FINDERS. Without the packages (``npm ci``) answers are plain
text while they grow, and ``manage.py check`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.files.storage import FileSystemStorage, Storage
from django.templatetags.static import static
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe

STATIC = Path(__file__).resolve().parent.parent / "static"
"""Our own files: in the project of somebody else they are not below its BASE_DIR."""
# Not named .js: Django would look for the source maps that the files speak of.
FILES = {"chat/packages/markdown-it.mjs": "markdown-it/dist/browser/markdown-it.esm.min.mjs"}
"""Static name → file below NODE_MODULES."""
PACKAGES = {"markdown-it": "chat/packages/markdown-it.mjs"}
"""What a module of ours imports → static name."""


def _sources() -> list[str]:
    """Our own modules, as named under static/."""
    return sorted(path.relative_to(STATIC).as_posix() for path in (STATIC / "chat").glob("*/*.js"))


SOURCES = SimpleLazyObject(_sources)


def addresses() -> list[str]:
    """The addresses of all modules, so that the browser fetches them at once and not one import after the other."""
    return [static(name) for name in [*SOURCES, *_packages().values()]]


def import_map() -> SafeString:
    """Modules import each other by relative addresses, and packages by name; this leads both to the files with a hash
    in their names."""
    own = {settings.STATIC_URL + name: static(name) for name in SOURCES}
    return mark_safe(json.dumps({"imports": own | {name: static(file) for name, file in _packages().items()}}))


def missing() -> list[str]:
    """The packages that are not there."""
    return [name for name in PACKAGES if name not in _packages()]


def _packages() -> dict[str, str]:
    return {name: path for name, path in PACKAGES.items() if _file(path) is not None}


def _file(path: str) -> Path | None:
    """The file below node_modules that a static name stands for, if it is there."""
    if path not in FILES:
        return None
    file = Path(settings.NODE_MODULES) / FILES[path]
    return file if file.is_file() else None


class PackageStorage(FileSystemStorage):
    """The files by their static names."""

    def path(self, name: str) -> str:
        return str(_file(name))


class PackageFinder(BaseFinder):
    """Finds the packages' files."""

    storage = PackageStorage()

    def check(self, **kwargs: Any) -> list[Any]:
        return []  # chat.checks warns

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        file = _file(path)
        if file is None:
            return []  # Django takes None for a place
        return [str(file)] if find_all else str(file)

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:
        for name in FILES:
            if _file(name) is not None and not matches_patterns(name, ignore_patterns or []):
                yield name, self.storage
