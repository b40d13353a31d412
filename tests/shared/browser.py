"""A headless Chromium, driven through chromedriver by plain WebDriver requests (https://www.w3.org/TR/webdriver2/)."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
).split()
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of a reference to an element, fixed by the standard
PATIENCE = 60  # seconds until what is waited for must have come
MISSING = None if shutil.which("chromium") and shutil.which("chromedriver") else "needs chromium and chromedriver"


class Browser:
    """One window; `profile` is a new empty directory."""

    def __init__(self, profile: Path) -> None:
        self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        said = next(line for line in self._driver.stdout if "successfully on port" in line)
        self._base = f"http://127.0.0.1:{re.search(r'on port ([0-9]+)', said)[1]}"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        session = self._ask("POST", "/session", {"capabilities": wanted})
        self._base += f"/session/{session['sessionId']}"

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()
            self._driver.stdout.close()

    def open(self, address: str, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of this size, in pixels, for a user who likes it dark or light."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        wanted = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for name, settings in (("setDeviceMetricsOverride", metrics), ("setEmulatedMedia", {"features": wanted})):
            self._ask("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{name}", "params": settings})
        self._ask("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script with a `return` gives."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, holds: Callable[[Any], bool] = bool) -> Any:
        """What the script gives as soon as that `holds`."""
        end = time.monotonic() + PATIENCE
        while not holds(found := self.run(script)):
            assert time.monotonic() < end, f"{script}: still {found!r}"
            time.sleep(0.05)
        return found

    def type(self, selector: str, text: str) -> None:
        """Press these keys in the element that a selector finds."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[ELEMENT]}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def point(self, selector: str, click: bool = False) -> None:
        """Move the mouse to the first element that a selector finds, and click there."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        actions = [{"type": "pointerMove", "x": 0, "y": 0, "origin": found}]
        actions += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp") if click]
        self._ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def picture(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the console has shown since this was last asked: errors, refused requests."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def _ask(self, method: str, path: str, content: dict | None = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._base + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
