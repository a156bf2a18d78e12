# SPDX-License-Identifier: Apache-2.0
"""The map of rooms in CONTRIBUTING.md, made from the docstrings of the packages; `make docs` writes it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "tidegate"
PAGE: Final = ROOT / "CONTRIBUTING.md"
BEGIN: Final = (
    "<!-- rooms: made by tools/rooms.py from the packages' docstrings; `make docs` writes it again -->\n"
)
END: Final = "<!-- end of rooms -->\n"

SUBROOMS: Final = ("backends", "doors", "events", "store", "testing", "vfs", "web")
"""Rooms whose packages are shown one by one."""

LONE: Final = ("abc", "built", "errors", "hints", "nesting", "packages", "plugins")
"""Modules beside the rooms."""


def first_sentence(path: Path) -> str:
    """The first line of a module's docstring, which is one sentence."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, f"{path} has no docstring"
    return " ".join(text.split("\n\n")[0].split())


def rooms() -> dict[str, str]:
    """Name and sentence of every room, in alphabetical order."""
    found: dict[str, str] = {}
    for init in sorted(SOURCE.glob("*/__init__.py")):
        name = init.parent.name
        found[f"{name}/"] = first_sentence(init)
        if name in SUBROOMS:
            for inner in sorted(init.parent.glob("*/__init__.py")):
                found[f"{name}/{inner.parent.name}/"] = first_sentence(inner)
    for name in LONE:
        found[f"{name}.py"] = first_sentence(SOURCE / f"{name}.py")
    return found


def table() -> str:
    """The map as Markdown."""
    rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in rooms().items()]
    return "\n".join(["| in `src/tidegate` | holds |", "|---|---|", *rows]) + "\n"


def page(text: str) -> str:
    """CONTRIBUTING with the map of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"
