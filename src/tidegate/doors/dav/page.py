# SPDX-License-Identifier: Apache-2.0
"""The page for people who open the address of a directory: to read, and upload by drop, without a script.

Nothing runs on it: the policy of its contents allows its own style and forms to itself, no more.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import aclosing
from html import escape
from typing import Any, Final

from tidegate.doors.dav.call import Call
from tidegate.doors.dav.finding import entries
from tidegate.doors.dav.request import Rejected
from tidegate.doors.dav.wire import headers, paths
from tidegate.model import Intent, VPath

MAX_SHOWN: Final = 10_000
"""Names on one page."""

_STYLE: Final = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.25rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .5rem;border-bottom:1px solid #8884;vertical-align:top}
td:first-child{overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
input[type=file]{display:block;width:100%;box-sizing:border-box;padding:2rem 1rem;margin:.5rem 0}
input[type=file]{border:2px dashed #888;border-radius:.5rem}
button{font:inherit;padding:.4rem 1rem}
a:focus-visible,button:focus-visible,input:focus-visible{outline:3px solid #3b82f6;outline-offset:2px}
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        (
            f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ).encode(),
    ),
    (b"cache-control", b"no-store"),
)


async def show(call: Call, path: VPath) -> None:
    """Answer with the page of a directory.

    Raises:
        Rejected: this binding has none.
        TidegateError: it cannot be listed.
    """
    request = call.request
    if not request.binding.pages:
        raise Rejected(405, "this is a directory", headers=[(b"allow", b"OPTIONS, PROPFIND")])
    base = request.href(path, collection=True)
    rows: list[tuple[bool, str, str]] = []
    more = False
    listing: Any = entries(call, path)
    async with aclosing(listing):
        async for batch in listing:
            for entry in batch:
                name = _readable(entry.name)
                href = base + paths.quoted(entry.name) + ("/" if entry.is_dir else "")
                size = "" if entry.is_dir else size_text(entry.size)
                when = headers.iso_date(entry.mtime_ns // 1_000_000_000)
                shown = escape(name) + ("/" if entry.is_dir else "")
                row = (
                    f'<tr><td><a href="{escape(href)}">{shown}</a></td>'
                    f'<td class="n">{size}</td><td class="n">'
                    f'<time datetime="{when}">{when[:10]} {when[11:16]}</time></td></tr>'
                )
                rows.append((not entry.is_dir, name.casefold(), row))
            if len(rows) >= MAX_SHOWN:
                more = True
                break
    rows.sort()
    title = escape(_readable(path))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>",
    ]
    if path != "/":
        up = request.href(path.parent, collection=True)
        parts.append(f'<p><a href="{escape(up)}">Up to {escape(_readable(path.parent.name)) or "/"}</a></p>')
    parts.append(
        '<table><thead><tr><th scope="col">Name</th><th scope="col" class="n">Size</th>'
        '<th scope="col" class="n">Modified (UTC)</th></tr></thead><tbody>'
    )
    parts += [row for _, _, row in rows]
    parts.append("</tbody></table>")
    if not rows:
        parts.append("<p>This directory is empty.</p>")
    if more:
        parts.append(f"<p>Only {MAX_SHOWN} of the names are shown.</p>")
    if may_upload(call, path):
        parts.append(
            f'<form method="post" enctype="multipart/form-data" action="{escape(base)}">'
            '<h2><label for="files">Upload: drop files here, or choose them</label></h2>'
            '<input id="files" type="file" name="files" multiple required>'
            '<button type="submit">Upload</button></form>'
        )
    parts.append("</main></body></html>")
    await request.answer(200, HEADERS, "".join(parts).encode())


def _readable(name: str) -> str:
    """A name for people: bytes that are not UTF-8 with a mark in their place."""
    return name.encode("utf-8", "replace").decode()


def may_upload(call: Call, path: VPath) -> bool:
    """True if the page offers to upload; the session judges each upload all the same."""
    account = call.client.principal.account
    if account.filters.is_anonymous:
        return False
    granted = account.permissions
    nearest = next((granted[one] for one in path.ancestors() if one in granted), ())
    return "*" in nearest or str(Intent.UPLOAD.value) in nearest


def size_text(size: int) -> str:
    """A size for people, in powers of 1024."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
