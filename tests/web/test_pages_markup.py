# SPDX-License-Identifier: Apache-2.0
"""The files of the pages: nothing inline in templates, colours that can be read, no raw colour, sizes in budget."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import pytest

from tidegate.web.admin import assets_store, rendering

ADMIN = Path(rendering.__file__).parent
TEMPLATES = sorted((ADMIN / "templates").glob("*.html"))
CSS = (ADMIN / "assets" / "admin.css").read_text(encoding="utf-8")
FORBIDDEN = {
    "a style": r"\sstyle\s*=|<style",
    "a handler": r"\son(?!ly\b)[a-z]+\s*=\s*[\"']",
    "a script": r"javascript:|<script(?![^>]*\ssrc=)",
    "trust in a value": r"\|\s*safe\b|autoescape\s+false",
    "evaluated htmx": r"hx-on|hx-vals\s*=\s*[\"']js:",
}
"""Markup that the policy of the pages refuses, or that would let a value become HTML."""

PAIRS = [
    *(
        (text, ground, 4.5)
        for text in ("ink", "ink-2", "ink-3")
        for ground in ("surface", "bg", "sunken", "hover")
    ),
    *((text, ground, 4.5) for text in ("ink", "ink-2", "ink-3") for ground in ("tide-soft", "now-soft")),
    *((text, "surface", 4.5) for text in ("tide", "ebb", "ok", "soon", "now")),
    *((text, f"{text}-soft", 4.5) for text in ("tide", "ebb", "ok", "soon", "now")),
    ("on-fill", "tide-fill", 4.5),
    ("on-fill", "tide-over", 4.5),
    ("on-fill", "now-fill", 4.5),
    *(
        (mark, ground, 3.0)
        for mark in ("ok-mark", "soon-mark", "now-mark", "line-2")
        for ground in ("surface", "bg")
    ),
]
"""Text and ground, with the least contrast of WCAG 2.2 (1.4.3, 1.4.11)."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_nothing_that_the_policy_refuses(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = {what for what, pattern in FORBIDDEN.items() if re.search(pattern, text, re.IGNORECASE)}
    assert found == set()
    for form in re.findall(r"<form[^>]*method=\"post\"[^>]*>.*?</form>", text, re.DOTALL | re.IGNORECASE):
        signed_in = "login" not in template.name and template.name != "setup.html"
        assert ("token(" in form) == signed_in, form[:200]


def test_every_template_can_be_compiled() -> None:
    for template in TEMPLATES:
        rendering.environment().get_template(template.name)


def test_scripts_make_no_html_of_text() -> None:
    for script in (ADMIN / "assets").glob("*.js"):
        if script.name != "htmx.js":
            text = script.read_text(encoding="utf-8")
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text
            )


def tokens() -> dict[str, dict[str, str]]:
    """Colours by theme and name."""
    found = re.findall(r"--([a-z0-9-]+): light-dark\((oklch\([^)]*\)), (oklch\([^)]*\))\);", CSS)
    return {theme: {row[0]: row[at] for row in found} for at, theme in ((1, "light"), (2, "dark"))}


def linear(colour: str) -> tuple[float, float, float]:
    """Linear sRGB of an oklch() colour, clipped to the gamut (CSS Color 4, section 9)."""
    lightness, chroma, hue = (
        [float(one) for one in re.findall(r"[\d.]+", colour)]
        + [0.0] * (3 - len(re.findall(r"[\d.]+", colour)))
    )[:3]
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    cone = (
        (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )
    matrix = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )
    red, green, blue = (
        min(1.0, max(0.0, sum(part * value for part, value in zip(row, cone, strict=True)))) for row in matrix
    )
    return red, green, blue


def contrast(one: str, other: str) -> float:
    shades = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other))]
    return (max(shades) + 0.05) / (min(shades) + 0.05)


def test_contrast_is_measured_rightly() -> None:
    assert contrast("oklch(1 0 0)", "oklch(0 0 0)") == pytest.approx(21, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_can_be_read(theme: str) -> None:
    colours = tokens()[theme]
    low = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text, ground, least in PAIRS
        if contrast(colours[text], colours[ground]) < least
    }
    assert low == {}


def test_colours_stand_among_the_tokens_alone() -> None:
    layer = CSS[CSS.index("@layer tokens {") : CSS.index("@layer base {")]
    rest = CSS.replace(layer, "")
    assert re.findall(r"#[0-9a-f]{3,8}\b|\brgba?\(|\bhsla?\(|\boklch\(|: *(?:black|white)\b", rest) == []


def test_the_first_page_is_within_its_budget() -> None:
    files = assets_store.load().by_name
    sizes = {
        name: len(files[name].packed or files[name].content)
        for name in (
            "admin.css",
            "admin.js",
            "dashboard.js",
            "live.js",
            "htmx.js",
            "icons.svg",
            "inter.woff2",
            "mark.svg",
        )
    }
    html = len(gzip.compress((ADMIN / "templates" / "dashboard.html").read_bytes()))
    assert sum(sizes.values()) + html < 150_000, sizes
    assert sizes["admin.js"] + sizes["dashboard.js"] + sizes["live.js"] < 8_000


def test_licences_lie_beside_the_files_of_others() -> None:
    assert {path.stem for path in (ADMIN / "assets" / "licences").glob("*.txt")} >= {
        "htmx",
        "lucide",
        "inter",
    }


def test_every_icon_that_a_template_names_is_in_the_sprite() -> None:
    sprite = set(
        re.findall(r'<symbol id="([^"]+)"', (ADMIN / "assets" / "icons.svg").read_text(encoding="utf-8"))
    )
    named = {
        name
        for path in [*TEMPLATES, *(ADMIN / "pages").glob("*.py")]
        for name in re.findall(r"icon(?:=|\()\"([a-z0-9-]+)\"", path.read_text(encoding="utf-8"))
    }
    assert named <= sprite
