"""The JSON API edge: the verbs, the errors and the ids of the websocket, one request at a time.

door.py lets a request in and turns whatever goes wrong into an error object; verbs.py has the commands, reading.py what
there is to read, shapes.py and examples.py how both look in the OpenAPI document. Bodies are validated by the commands'
own classes (:mod:`chat.frames`), so no field is written twice.
"""

from chat.api.door import unknown
from chat.api.urls import urls

__all__ = ["unknown", "urls"]
