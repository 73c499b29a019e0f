"""Chromium driven by the WebDriver protocol (W3C), which is HTTP and JSON."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = "/usr/bin/chromium", shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the protocol has for a reference to an element
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
MISSING = None if Path(CHROMIUM).exists() and DRIVER else f"{CHROMIUM} with chromedriver"


class Browser:
    """A session of a browser."""

    def __init__(self, address: str, flags: tuple[str, ...]) -> None:
        options = {"binary": CHROMIUM, "args": list(flags)}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.address = f"{address}/session"
        session = self._call("", {"capabilities": {"alwaysMatch": {"browserName": "chrome", **wanted}}})
        self.address += f"/{session['sessionId']}"

    def open(self, page: Path) -> None:
        self._call("/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script, such as `return document.title`."""
        return self._call("/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Click in the middle of the first element, as a person does, who scrolls to it and has to see it."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self._call(f"/element/{self._find(selector)}/click", {})

    def press(self, selector: str, keys: str) -> None:
        self._call(f"/element/{self._find(selector)}/value", {"text": keys})

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        arguments = {"captureBeyondViewport": whole}
        if whole:
            width, height = self.run("const e = document.documentElement; return [e.clientWidth, e.scrollHeight]")
            arguments["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", arguments)["data"]))

    def print(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("/print", {"background": True})))

    def devtools(self, command: str, arguments: dict[str, Any]) -> Any:
        return self._call("/goog/cdp/execute", {"cmd": command, "params": arguments})

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """Return what `browser` (the console) or `performance` logged since the last call."""
        return self._call("/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call, without those of data in the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith(("data:", "chrome:"))]

    def close(self) -> None:
        with suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(self.address, method="DELETE"), timeout=30)

    def _find(self, selector: str) -> str:
        return self._call("/element", {"using": "css selector", "value": selector})[ELEMENT]

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), kind)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error


@contextmanager
def browse(folder: Path, *flags: str) -> Iterator[Browser]:
    """Start a driver and a browser with an empty profile in a folder; end both."""
    output = folder / "driver.log"
    with output.open("w") as log:
        driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while "successfully on port " not in (text := output.read_text()):
            assert driver.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.05)
        port = text.split("successfully on port ")[1].split(".")[0].split()[0]
        browser = Browser(f"http://127.0.0.1:{port}", (*FLAGS, f"--user-data-dir={folder / 'profile'}", *flags))
        yield browser
        browser.close()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
