"""A report opened in headless Chromium, with a script that uses the page and leaves an answer in it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1300,2000"
).split()


VIRTUAL = "--virtual-time-budget=20000"
"""Waits are over at once, and clocks mean nothing."""


def ask(page: Path, script: str, *flags: str, clock: bool = False) -> Any:
    """What the expressions of `script` set on `answer`, run after the page's own script; errors of the page come too.

    The script is another than the one that the page's own policy names, so the policy's line is taken out of the copy.
    """
    policy = re.compile(r"<meta http-equiv=\"Content-Security-Policy\".*?>")
    before = "<script>const errors = []; addEventListener('error', (e) => errors.push(e.message));</script>"
    after = f"""<script>addEventListener('load', async () => {{
        const answer = {{}}; const wait = () => new Promise((done) => setTimeout(done, 30));
        {script}
        answer.errors = errors; const told = document.createElement('pre'); told.id = 'answer';
        told.textContent = JSON.stringify(answer); document.body.append(told); }});</script>"""
    text = policy.sub("", page.read_text()).replace("<title>", before + "<title>").replace("</body>", after + "</body>")
    copy = page.with_name("asked.html")
    copy.write_text(text)
    dumped = dump(copy, *flags, *([] if clock else [VIRTUAL]))
    found = re.search(r'<pre id="answer">(.*?)</pre>', dumped, re.S)
    assert found, dumped[-2000:]
    return json.loads(html.unescape(found[1]))


def dump(page: Path, *flags: str) -> str:
    """The page's DOM after its scripts."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        words = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=600).stdout
