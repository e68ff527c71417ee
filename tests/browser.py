"""A real browser without a window, for pages that must work in one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1200,1000",
    "--virtual-time-budget=6000",
)


def browse(page: Path, *more: str) -> str:
    """Open the page, wait until it is quiet. -> what the browser printed"""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *more, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def page_after(page: Path, script: str, workshop: Path) -> str:
    """The page's HTML after this script has run in it, too: it acts as a person would."""
    copy = workshop / "with-script.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    return browse(copy, "--dump-dom")


def told(html: str, name: str) -> str:
    """What a script left in <html data-NAME="...">."""
    root = re.search(r"<html[^>]*>", html)
    assert root is not None, html[:500]
    found = re.search(rf'data-{name}="([^"]*)"', root[0])
    assert found is not None, root[0]
    return found[1]
