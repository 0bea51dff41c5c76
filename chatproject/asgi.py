"""The ASGI application: pages by Django, websockets and streams beside it, over one process's shared parts."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
pages = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402  (Django has to be set up first)

from chat import guests, tokens  # noqa: E402
from chat.process import lock_machine, with_process  # noqa: E402
from chat.routing import websockets, with_streams  # noqa: E402

lock = lock_machine()
application = with_process(
    ProtocolTypeRouter({"http": with_streams(pages), "websocket": websockets}),
    housekeeping=[guests.expire_guests, guests.expire_sessions, tokens.remove_old],
)
