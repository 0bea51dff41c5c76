"""A tab that Playwright has no part in: its own pages count as seen at all times, and are neither hidden nor frozen."""

from __future__ import annotations

import itertools
import json
from typing import Any

from playwright.sync_api import Browser

from tests.browser.conftest import wait_for


class Tab:
    """A page in a window of its own, by the browser's own protocol. ``beside`` another one: in its window, in front."""

    def __init__(self, browser: Browser, *, beside: Tab | None = None) -> None:
        self._browser = beside._browser if beside else browser.new_browser_cdp_session()
        send = self._browser.send
        self._window = beside._window if beside else send("Target.createBrowserContext")["browserContextId"]
        self._id = send("Target.createTarget", {"url": "about:blank", "browserContextId": self._window})["targetId"]
        self._session = send("Target.attachToTarget", {"targetId": self._id, "flatten": False})["sessionId"]
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self.closed = 0
        """So many of its websockets have closed."""
        self._browser.on("Target.receivedMessageFromTarget", self._receive)
        self._send("Network.enable")

    def open(self, address: str) -> None:
        self._send("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def write(self, text: str) -> None:
        """What the keyboard writes where it is, with Enter."""
        self._send("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r", windowsVirtualKeyCode=13)

    def show(self) -> None:
        """Bring it to the front of its window."""
        self._browser.send("Target.activateTarget", {"targetId": self._id})

    def freeze(self, frozen: bool) -> None:
        """As a browser does to a tab that was hidden for long: nothing runs in it any more, not even a timer."""
        self._send("Page.setWebLifecycleState", state="frozen" if frozen else "active")

    def stop_clock(self) -> None:
        """Time stands still in it, for good."""
        self._send("Emulation.setVirtualTimePolicy", policy="pause")

    def close(self) -> None:
        self._browser.send("Target.disposeBrowserContext", {"browserContextId": self._window})

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = json.dumps({"id": number, "method": method, "params": params})
        self._browser.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})

        def is_answered() -> bool:
            self._browser.send("Target.getTargetInfo", {"targetId": self._id})  # lets what has come be heard
            return number in self._answers

        wait_for(is_answered, f"the answer to {method}")
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if event["sessionId"] != self._session:
            return
        if "id" in message:
            self._answers[message["id"]] = message
        self.closed += message.get("method") == "Network.webSocketClosed"
