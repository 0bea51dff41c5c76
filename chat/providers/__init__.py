"""The providers of this process, by name. See :mod:`chat.providers.base` for the contract of one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from chat import conf
from chat.providers.base import Provider


class Providers:
    """The providers of ``entries``: {name: {"path": dotted path, "options": {…}}}, the one that answers first.

    A model is asked for as ``model`` at the first provider and as ``name/model`` at any other. Raises
    ImproperlyConfigured for an entry that can't be made, or that would ask itself in the end, so that a mistake shows
    when the process starts.
    """

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        if not entries:
            raise ImproperlyConfigured("REJOIN_PROVIDERS has no provider.")
        self._providers = {name: _make(name, entry) for name, entry in entries.items()}
        self._first = next(iter(self._providers))
        self._introduce()

    def get(self, name: str = "") -> Provider:
        """The provider of this name, by default the one that answers. Raises KeyError for an unknown name."""
        return self._providers[name or self._first]

    def choose(self, model: str) -> tuple[Provider, str]:
        """Whom to ask for a model, and what it is called there. ``""`` is the first provider's own choice."""
        name, slash, rest = model.partition("/")
        if slash and name in self._providers:
            return self._providers[name], rest
        return self._providers[self._first], model

    def _introduce(self) -> None:
        """Tell those that ask others whom there is to ask."""
        names = {provider: name for name, provider in self._providers.items()}
        try:
            TopologicalSorter({one: one.introduce(self.choose) for one in names}).prepare()
        except CycleError as error:
            circle = " asks ".join(names[provider] for provider in error.args[1])
            raise ImproperlyConfigured(
                f"REJOIN_PROVIDERS: {circle}. Name the models of other providers as provider/model."
            ) from error

    async def models(self) -> list[str]:
        """The models that can be asked for, as :meth:`choose` takes them, best first. Raises RunError."""
        names = []
        for name, provider in self._providers.items():
            prefix = "" if name == self._first else f"{name}/"
            names += [prefix + model for model in await provider.models()]
        return names

    async def close(self) -> None:
        """Close them all."""
        for provider in self._providers.values():
            await provider.close()


@functools.cache
def providers() -> Providers:
    """The providers of the settings, made at the first call."""
    return Providers(conf.providers())


def _make(name: str, entry: Mapping[str, Any]) -> Provider:
    path = entry.get("path", "")
    try:
        made = import_string(path)(**entry.get("options", {}))
    except (ImportError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"REJOIN_PROVIDERS: {name!r} can't be made from {path!r}: {error}") from error
    if not isinstance(made, Provider):
        raise ImproperlyConfigured(f"REJOIN_PROVIDERS: {path!r} of {name!r} is not a Provider.")
    return made
