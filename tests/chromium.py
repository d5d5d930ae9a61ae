"""Headless Chromium over its debugging pipe: a page, its scripts, keys and dropped files."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

# The browser reads descriptor 3 and writes 4.
START = """
import fcntl, os, sys
given, end, *command = sys.argv[1:]
given, end = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in (given, end))
os.dup2(given, 3), os.dup2(end, 4)
os.execv(command[0], command)
"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run")


class Page:
    """One page of a browser."""

    def __init__(self, commands, answers):
        self._commands, self._answers = commands, answers
        self._numbers, self._session = itertools.count(1), None
        self.log = []  # messages of the page, such as violations of its policy
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Calls a method of the DevTools protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.log.append(answer["params"])

    def _read(self):
        found = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            found += byte
        return found

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script):
        """Value of a script."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, condition):
        """Waits until a script has a true value."""
        for _ in range(1000):
            if self.run(condition):
                return
            time.sleep(0.02)
        raise AssertionError(f"{condition}; {self.run('document.body.innerText')}; {self.log}")

    def drop(self, selector, path):
        """Drops a file onto an element as a person does."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"
        place = self.run(box)
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def choose(self, selector, path):
        """Chooses a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


@contextlib.contextmanager
def page(folder):
    """A page of a browser that keeps its files in a folder; skips without Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium on the path; on Debian: apt-get install chromium")
    (theirs, commands), (answers, back) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", START, str(theirs), str(back), found, *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder}"],
        pass_fds=[theirs, back],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs), os.close(back)
    try:
        with os.fdopen(commands, "wb") as to, os.fdopen(answers, "rb") as back:
            yield Page(to, back)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
