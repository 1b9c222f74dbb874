"""A headless Chromium, driven by its own protocol over a pair of sockets: no library, no port."""

import base64
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import wait

#: The browser reads at descriptor 3 and writes at 4. By way of 100: the socket may be one of these.
_PLACE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 100); os.dup2(100, 3); os.dup2(100, 4); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
#: Seconds the browser may take for an answer, or to end.
PATIENCE_S = 60


class Browser:
    """One page of a browser. See https://chromedevtools.github.io/devtools-protocol for the methods."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self._connection = connection
        self._unread = bytearray()
        self._numbers = itertools.count(1)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method, wait for its answer, and return that."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._connection.sendall(json.dumps(message).encode() + b"\0")
        while (answer := json.loads(self._read())).get("id") != number:
            continue  # an event
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def go(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        wait.until(lambda: self.run(script), PATIENCE_S, script, lambda: self.run("document.body.innerText"))

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Look through a window of this size, a narrow one being a phone's, at light or dark colours."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _read(self) -> bytes:
        while b"\0" not in self._unread:
            part = self._connection.recv(65_536)
            assert part, "the browser ended"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return bytes(message)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that has its files in ``folder``, and ends with the context."""
    ours, theirs = socket.socketpair()
    # gevent makes sockets that do not block; the browser would take that for the end.
    os.set_blocking(theirs.fileno(), True)

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    place = [sys.executable, "-c", _PLACE, str(theirs.fileno())]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [*place, "chromium", *flags, f"--user-data-dir={folder}/browser"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    theirs.close()
    try:
        with ours:
            yield Browser(ours)
        process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
