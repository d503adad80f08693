"""Headless Chromium through its DevTools protocol: what a page asks for, complains of and looks like."""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
import websocket


class Browser:
    """One page of a browser that runs until `close`."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not program:
            pytest.skip("no chromium on PATH")
        self._process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run", "--window-size=1280,1600", f"--user-data-dir={folder}",
             "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._socket = self._connect(folder / "DevToolsActivePort")
        self._number = 0
        self.requests: list[str] = []
        """Every URL that the page has asked for."""
        self.complaints: list[str] = []
        """Every error that the page has had, and all that it wrote to its console."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def _connect(self, port_file: Path) -> Any:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                port = port_file.read_text().split()[0]
                pages = urllib3.request("GET", f"http://127.0.0.1:{port}/json/list", retries=False, timeout=5).json()
                address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
                return websocket.create_connection(address, timeout=30)
            except (OSError, IndexError, StopIteration, urllib3.exceptions.HTTPError):
                time.sleep(0.1)
        self.close()
        raise AssertionError("the browser does not start")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result; what happens meanwhile is noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(parameters))

    def open(self, path: Path) -> None:
        """Load a file, wait until it is drawn."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + 30
        while self.run("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def colour_scheme(self, scheme: str) -> None:
        """`light` or `dark`, as the system would say."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """All of the page as a PNG."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(image))

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
