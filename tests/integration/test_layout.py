"""What a browser makes of our pages: a phone shows every number, and no word of a table is broken."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.observe import page as status_page
from harness.evidence.report.model import Report, Table
from harness.evidence.report.page import page as report_page

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look at pages with")

#: The width of a small phone, and that of a window.
PHONE, WINDOW = 360, 1100
#: Of each cell of a table what it says, whether it is within the page, whether one of its words is broken.
MEASURE = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const broken = cell => {
    const walker = page.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let node; node = walker.nextNode();) {
      for (const word of node.data.matchAll(/[^\\s-]+/g)) {
        const range = page.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) return true;
      }
    }
    return false;
  };
  const cells = [...page.querySelectorAll("td, th")].map(cell => {
    const box = cell.getBoundingClientRect();
    const seen = box.width > 0 && box.left >= 0 && box.right <= page.documentElement.clientWidth;
    return [cell.tagName, cell.textContent, seen, broken(cell)];
  });
  document.body.textContent = "<<" + JSON.stringify(cells) + ">>";
});
"""


def cells(page: str, width: int, folder: Path) -> list[tuple[str, str, bool, bool]]:
    """What :data:`MEASURE` says of ``page`` in a frame of this width."""
    frame = f'<iframe width="{width}" height="900" style="border: 0" srcdoc="{html.escape(page)}"></iframe>'
    (folder / "outer.html").write_text(f"<!doctype html><script>{MEASURE}</script>{frame}")
    browser = [
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}/browser",
    ]
    look = ["--virtual-time-budget=2000", "--dump-dom", f"file://{folder}/outer.html"]
    dom = subprocess.run([*browser, *look], capture_output=True, text=True, timeout=300, check=True).stdout
    found = re.search(r"&lt;&lt;(.*)&gt;&gt;", dom, re.DOTALL)
    assert found, dom
    return [tuple(cell) for cell in json.loads(html.unescape(found[1]))]


def status() -> dict[str, object]:
    """As little of an answer of ``/status`` as a page with two queues needs."""
    depth = {"pending": 1201, "active": 31, "scheduled": 42, "retry": 5303, "archived": 6404, "paused": False}
    queues = [
        {"name": f"inference.{name}", "priority": 1, "depth": depth, "outcomes": {"completed": 7_000_000}}
        for name in ("high", "a-name-that-is-long-and-has-no-blank")
    ]
    parent = {
        "parent": "inference",
        "state": "ready",
        "mode": "long_running",
        "commit": "c0ffee",
        "notes": [],
        "recovery": {"total_restarts": 0, "consecutive_fails": 0},
        "redis": {"address": "redis:6379", "available": True},
        "slots": {"total": 2, "in_use": 0},
        "unsettled": {"outcomes": 0},
        "tasks": [],
        "queues": queues,
    }
    worker = {"id": "w", "status": "running", "quiet": False, "stopping": False, "uptime_s": 5.0}
    return {
        "worker": {**worker, "version": "1", "python": "3", "instance_id": None},
        "now": "2026-01-01T00:00:00Z",
        "ready": True,
        "reasons": [],
        "live": True,
        "stuck": [],
        "startup": {},
        "parents": [parent],
        "timeline": [],
        "log": [],
    }


def test_a_phone_shows_every_number_of_a_queue(tmp_path: Path) -> None:
    found = cells(status_page.render(status()), PHONE, tmp_path)

    shown = [text for tag, text, seen, _ in found if tag == "TD" and seen]
    assert [text for tag, text, *_ in found if tag == "TD"] == shown
    assert {"1201", "31", "42", "5303", "6404", "7000000"} <= set(shown)


def test_no_word_of_a_reports_tables_is_broken(tmp_path: Path) -> None:
    heads = ("invariant", "tasks", "what was seen", "result", "commands a second, with scripts'")
    rows = [("nothing-is-lost", "12,345", "every task is in one place only " * 4, "ok", "18.1")] * 2
    report = Report("A run", "all well", "now", tables=[Table("Invariants", heads, rows)])
    page = report_page(report)

    for width in (WINDOW, PHONE):
        assert not [text for _, text, _, broken in cells(page, width, tmp_path) if broken]
    wrong = page.replace("overflow-wrap: normal", "")
    assert any(broken for *_, broken in cells(wrong, PHONE, tmp_path))
