# SPDX-License-Identifier: Apache-2.0
"""Make the pages' sprite of icons from an unpacked copy of the npm package lucide-static.

python tools/icons.py path/to/lucide-static
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

TARGET: Final = (
    Path(__file__).resolve().parent.parent / "src" / "tidegate" / "web" / "admin" / "assets" / "icons.svg"
)

NAMES: Final = (
    "activity", "anchor", "archive", "arrow-down", "arrow-down-to-line", "arrow-left", "arrow-right",
    "arrow-up", "arrow-up-from-line", "ban", "bell", "bot", "cable", "calendar", "check",
    "chevron-down", "chevron-left", "chevron-right", "chevron-up", "circle-alert", "circle-check",
    "circle-help", "circle-pause", "circle-play", "clock", "cloud", "code", "copy", "database", "dot",
    "door-open", "download", "ellipsis", "external-link", "eye", "eye-off", "file", "file-check",
    "file-plus", "file-text", "file-up", "filter", "fingerprint", "flask-conical", "folder",
    "folder-input", "folder-open", "folder-plus", "folder-tree", "gauge", "globe", "group",
    "hard-drive", "history", "hourglass", "info", "key", "key-round", "laptop", "layers", "life-buoy",
    "link", "list", "list-checks", "list-filter", "list-plus", "lock", "log-in", "log-out", "mail",
    "map-pin", "menu", "message-square", "minus", "monitor", "moon", "network", "octagon-alert",
    "octagon-x", "package", "pause", "pencil", "play", "plug", "plus", "power", "qr-code", "radar",
    "refresh-cw", "repeat", "rotate-ccw", "save", "scan-line", "scroll-text", "search", "send",
    "server", "settings", "shield", "shield-alert", "shield-ban", "shield-check", "shield-x", "skull",
    "sliders-horizontal", "smartphone", "square-pen", "sun", "tag", "terminal", "timer", "trash-2",
    "triangle-alert", "undo-2", "unplug", "upload", "user", "user-check", "user-cog", "user-plus",
    "user-x", "users", "wand-sparkles", "webhook", "workflow", "wrench", "x", "zap",
)  # fmt: skip
"""Icons that pages may use."""


def symbol(source: Path, name: str) -> str:
    """One icon as a symbol.

    Raises:
        FileNotFoundError: there is no icon of this name.
    """
    text = (source / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    body = re.search(r"<svg[^>]*>(.*)</svg>", text, re.DOTALL)
    assert body is not None, name
    inner = re.sub(r"\s*\n\s*", "", body[1]).replace(" />", "/>")
    return f'<symbol id="{name}" viewBox="0 0 24 24">{inner}</symbol>'


def main() -> None:
    """Write the sprite."""
    source = Path(sys.argv[1])
    version = re.search(r'"version": "([^"]+)"', (source / "package.json").read_text(encoding="utf-8"))
    assert version is not None
    head = (
        f"<!-- Icons of Lucide {version[1]}, ISC licence, licences/lucide.txt; made by tools/icons.py. -->\n"
    )
    lines = [symbol(source, name) for name in NAMES]
    TARGET.write_text(
        f'{head}<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(lines) + "\n</svg>\n",
        encoding="utf-8",
    )
    print(f"{TARGET}: {len(lines)} icons, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
