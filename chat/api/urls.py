"""Where each operation is, with the OpenAPI document and its page."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.urls import path

from chat.api import reading, verbs  # noqa: F401  (they fill the router)
from chat.api.door import guarded, make_api, readable, router, unknown

api = make_api()
api.add_router("", router)
_patterns, _name, _namespace = api.urls
for _pattern in _patterns:
    _view: Any = _pattern.callback
    _pattern.callback = guarded(_view) if iscoroutinefunction(_view) else readable(_view)

urls = ([path("", unknown), *_patterns], _name, _namespace)
