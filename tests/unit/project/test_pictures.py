# SPDX-License-Identifier: Apache-2.0
"""The pictures of the docs: small, dated, each shown by a page, light and dark together, and none missing."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import compile_path
from tests.unit.project.test_docs_links import PAGES
from tools import screenshots
from tools.rooms import ROOT

from tidegate.web.admin.registry import all_pages

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 3_000_000
"""All of them: they are part of every clone of the repository."""


def names() -> set[str]:
    return {path.name for path in PICTURES.iterdir()}


def test_pictures_are_small_and_of_one_kind() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert sum(sizes.values()) < MOST_BYTES, sorted(sizes.items(), key=lambda one: -one[1])[:5]
    for path in PICTURES.iterdir():
        assert re.fullmatch(r"[a-z0-9-]+-(light|dark)\.webp", path.name)
        head = path.read_bytes()[:12]
        assert (head[:4], head[8:]) == (b"RIFF", b"WEBP"), path.name  # RFC 9649, section 2


def test_pictures_that_pages_show_are_there_and_all_are_shown() -> None:
    shown = {
        Path(one).name
        for page in PAGES
        for one in re.findall(r"\]\(([^)]*pictures/[^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == names()


def test_each_picture_is_there_light_and_dark() -> None:
    pairs = {name: name.replace("-light.", "-dark.") for name in names() if "-light." in name}
    assert set(pairs) | set(pairs.values()) == names()


def test_each_page_has_a_picture_or_a_reason_for_none() -> None:
    """Those of the navigation have one in any case."""
    assert names() == {
        f"{one.name}-{scheme}.webp" for one in screenshots.every_shot() for scheme in screenshots.SCHEMES
    }
    assert screenshots.TEXT.read_text(encoding="utf-8") == screenshots.text(), "make screenshots"
    patterns = [(compile_path(page.path)[0], page) for page in all_pages()]
    shown = {
        next(page.path for pattern, page in patterns if pattern.match(one.path.partition("?")[0]))
        for one in screenshots.every_shot()
    }
    there = {page.path for page in all_pages() if page.show is not None and not page.streams}
    assert {page.path for page in all_pages() if page.nav is not None} <= shown
    assert there - shown == set(screenshots.ALIKE)


def test_pages_with_pictures_or_figures_have_dates() -> None:
    showing = [page for page in PAGES if re.search(r"\]\([^)]*pictures/", page.read_text(encoding="utf-8"))]
    measured = [ROOT / "docs/explanation/performance.md", ROOT / "bench/RESULTS.md", ROOT / "bench/DOORS.md"]
    assert len(showing) > 1
    for page in (*showing, *measured):
        assert re.search(r"\b20\d\d-\d\d-\d\d\b", page.read_text(encoding="utf-8")), page.name
