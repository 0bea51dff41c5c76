"""The JSON API edge: the verbs, the errors and the ids of the websocket, one request at a time.

door.py lets a request in and turns whatever goes wrong into an error object; verbs.py has the commands, reading.py what
there is to read. document.py makes the OpenAPI document: shapes.py and examples.py have what goes in and out,
following.py the event streams and long polls, which are served elsewhere. Bodies are validated by the commands' own
classes (:mod:`chat.frames`), so no field is written or described twice.
"""

from chat.api.door import unknown
from chat.api.urls import urls

__all__ = ["unknown", "urls"]
