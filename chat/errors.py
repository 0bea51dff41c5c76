"""Every error that a user or a client can meet.

Each is data: a stable ``code``, an HTTP ``status``, a sentence for people, and whether doing the same again may help.
The same object travels in a websocket frame, an SSE event, a JSON body, a run's row and the admin. A message never
holds an exception's text, a key, a path or another user's data.

    ChatError
    ├── BadFrame               400  the frame is not JSON, or no frame of the protocol
    ├── BadRequest             400  a field is missing, of the wrong type or out of range
    ├── TooLarge               413  a frame, message or answer is over its limit
    ├── Unauthenticated        401  nobody is signed in
    ├── Forbidden              403  signed in, but not allowed to do this
    ├── NotFound               404  not there, or not yours (the two are never told apart)
    ├── BadMethod              405  the address is there, but not for this method (HTTP only)
    ├── Conflict               409  the thread has gone on since
    ├── Busy                   409  an answer is being written, and the command does not wait
    ├── RateLimited            429  too many commands or runs
    ├── TookTooLong            422  a search over more than can be looked through
    ├── Unsupported            400  a command that this server does not have
    └── RunError                    why a run ended badly (kept on its row)
        ├── NoWorker           503  no live worker (while queued: the run waits)
        ├── ProviderTimeout    504
        ├── ProviderUnavailable 502
        ├── ProviderRateLimited 429
        ├── ProviderRefused    403  refused key, unknown model, no permission
        ├── ContextTooLong     413
        ├── ContentFiltered    422
        ├── ProviderProtocol   502  the provider said something that is not its protocol
        ├── WorkerLost         500  the worker died while it wrote
        └── Internal           500
"""

from __future__ import annotations

from typing import Any


class ChatError(Exception):
    """Base of all. ``detail`` is a small JSON object for programs; ``retry_after`` is in seconds."""

    code: str = "internal"
    status: int = 500
    retryable: bool = False
    text: str = "Something went wrong on the server."

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, detail: dict[str, Any] | None = None
    ) -> None:
        self.message = message or self.text
        self.retry_after = retry_after
        self.detail = detail
        super().__init__(self.message)

    def as_dict(self) -> dict[str, Any]:
        """The error object of the protocol."""
        data: dict[str, Any] = {
            "code": self.code,
            "status": self.status,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.retry_after is not None:
            data["retry_after"] = self.retry_after
        if self.detail is not None:
            data["detail"] = self.detail
        return data


class BadFrame(ChatError):
    """Send one JSON object per text frame, with a ``type`` of docs/protocol.md."""

    code, status, text = "bad_frame", 400, "This is not a frame of the protocol."


class BadRequest(ChatError):
    """Correct the field that ``detail.field`` names and send again."""

    code, status, text = "bad_request", 400, "A field of the command is missing or wrong."


class TooLarge(ChatError):
    """Send less: ``detail.limit`` is the limit."""

    code, status, text = "too_large", 413, "This is longer than the server allows."


class Unauthenticated(ChatError):
    """Sign in first."""

    code, status, text = "unauthenticated", 401, "Sign in first."


class Forbidden(ChatError):
    """You are signed in, but this is not for you to do."""

    code, status, text = "forbidden", 403, "You may not do this."


class BadMethod(ChatError):
    """Use a method that the Allow header names."""

    code, status, text = "bad_method", 405, "This address does not have that method."


class NotFound(ChatError):
    """It does not exist, or is not yours."""

    code, status, text = "not_found", 404, "There is no such thing here."


class Conflict(ChatError):
    """Catch up, look at what has changed, and decide again."""

    code, status, text = "conflict", 409, "The chat has gone on since."


class Busy(ChatError):
    """Wait until the running answer has ended, or let the message queue."""

    code, status, retryable, text = "busy", 409, True, "An answer is being written."


class RateLimited(ChatError):
    """Wait ``retry_after`` seconds."""

    code, status, retryable, text = "rate_limited", 429, True, "Too many requests. Wait a moment."


class TookTooLong(ChatError):
    """Search for something else, or in fewer chats: what was searched is more than can be looked through."""

    code, status, text = "took_too_long", 422, "This took too long. Search for something else."


class Unsupported(ChatError):
    """This server does not have what you asked for."""

    code, status, text = "unsupported", 400, "This server does not support that."


class RunError(ChatError):
    """Why a run ended badly."""


class NoWorker(RunError):
    """Start a worker (``manage.py runworker``): the run waits for it."""

    code, status, retryable, text = "no_worker", 503, True, "No worker is running. Your message waits for one."


class ProviderTimeout(RunError):
    """Try again; if it happens often, raise the timeouts in the provider's options."""

    code, status, retryable, text = "provider_timeout", 504, True, "The model did not answer in time."


class ProviderUnavailable(RunError):
    """Try again later: the model's server is down or failing."""

    code, status, retryable, text = "provider_unavailable", 502, True, "The model's server can't be reached."


class ProviderRateLimited(RunError):
    """Try again after ``retry_after`` seconds."""

    code, status, retryable, text = "provider_rate_limited", 429, True, "The model's server is over its limit."


class ProviderRefused(RunError):
    """Check the key, the model's name and the account at the provider."""

    code, status, text = "provider_refused", 403, "The model's server refused the request."


class ContextTooLong(RunError):
    """Shorten the message, or lower REJOIN_PROMPT_BUDGET."""

    code, status, text = "context_too_long", 413, "The chat is too long for this model."


class ContentFiltered(RunError):
    """Ask in other words: the provider's filter ended the answer."""

    code, status, text = "content_filtered", 422, "The model's filter ended the answer."


class ProviderProtocol(RunError):
    """The provider sent something that is not its protocol, or ended in the middle."""

    code, status, retryable, text = "provider_protocol", 502, True, "The model's answer broke off."


class WorkerLost(RunError):
    """Continue or regenerate: the text so far is kept."""

    code, status, retryable, text = "worker_lost", 500, True, "The answer was interrupted on the server."


class Internal(RunError):
    """A fault of the server; its log says more."""

    code, status, retryable, text = "internal", 500, True, "Something went wrong on the server."


class UnknownError(ChatError):
    """A server of another version told of it: ``code`` is one that is not known here."""

    def __init__(self, code: str, message: str = "", **fields: Any) -> None:
        self.code = code
        super().__init__(message, **fields)


def _tree(cls: type[ChatError]) -> dict[str, type[ChatError]]:
    found = {} if cls in (ChatError, RunError, UnknownError) else {cls.code: cls}
    for child in cls.__subclasses__():
        found |= _tree(child)
    return found


CODES: dict[str, type[ChatError]] = _tree(ChatError)


def from_code(code: str, message: str = "", **fields: Any) -> ChatError:
    """The error with this code: what a client raises that was told it."""
    known = CODES.get(code)
    return UnknownError(code, message, **fields) if known is None else known(message, **fields)


def from_dict(data: dict[str, Any]) -> ChatError:
    """The inverse of :meth:`ChatError.as_dict`."""
    error = from_code(data["code"], data["message"], retry_after=data.get("retry_after"), detail=data.get("detail"))
    if isinstance(error, UnknownError):
        error.status, error.retryable = data["status"], data["retryable"]
    return error
