# SPDX-License-Identifier: Apache-2.0
"""The check of the documentation's site (`make docs-site`) finds dead links and what other hosts would serve."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SITE: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "docs_site.py"))


def test_dead_links_and_foreign_scripts_are_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text('<h1 id="here">B</h1><a href="../a.html#x">a</a>')
    (tmp_path / "a.html").write_text(
        '<h2 id="x">A</h2><a href="sub/b.html#here">1</a><a href="sub/b.html#gone">2</a>'
        '<a href="none.html">3</a><a href="https://example.org/">4</a><script src="own.js"></script>'
        '<script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="//cdn.example/x.css">'
    )
    (tmp_path / "own.js").write_text("")
    (tmp_path / "own.css").write_text("body { background: url('https://cdn.example/x.png') }")

    assert SITE["problems_of"](tmp_path) == [
        "a.html: loads https://cdn.example/x.js",
        "a.html: loads //cdn.example/x.css",
        "a.html: sub/b.html#gone: no such heading",
        "a.html: none.html leads nowhere",
        "own.css: loads https://cdn.example/x.png",
    ]


def test_every_page_is_on_the_site_and_in_its_order(tmp_path: Path) -> None:
    SITE["stage"](tmp_path)

    (guides,) = [part["Guides"] for part in SITE["navigation"](tmp_path) if "Guides" in part]
    there = {f"docs/how_to/{path.name}" for path in (ROOT / "docs" / "how_to").glob("*.md")}
    assert set(guides) <= there
    assert guides[0] == "docs/how_to/run-under-systemd.md"
    assert (tmp_path / "examples" / "reverse-proxy" / "nginx.conf").exists()
    assert (tmp_path / "LICENSE").exists()
