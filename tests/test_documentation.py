"""The code of the README and of the pages runs and prints what they say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_page(page, tmp_path, monkeypatch):
    """Blocks run in order in one namespace; a block marked text is the output of the last one."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    printed = ""
    for kind, body in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.S | re.M):
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(body, f"{page.name}: {body[:40]!r}", "exec"), namespace)
            printed = output.getvalue()
        elif kind == "text":
            assert body.strip() == printed.strip()
