# SPDX-License-Identifier: Apache-2.0
"""The page that lists the API's operations: one file, no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1a2530;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem;text-transform:capitalize}
details{border:1px solid #d5dde3;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer;font-family:ui-monospace,monospace}
b.m{display:inline-block;width:4.5rem}table{border-collapse:collapse;margin:.5rem 0}
td{border-top:1px solid #e6ecf0;padding:.2rem .8rem .2rem 0;vertical-align:top}code{font-size:.9em}
@media (prefers-color-scheme:dark){body{color:#dde6ec;background:#10181f}details,td{border-color:#33424e}}
"""

POLICY: Final = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""Content security policy that the page needs."""


def render(openapi: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    groups: dict[str, list[str]] = {}
    shared = {
        f"#/components/responses/{name}": answer
        for name, answer in openapi.get("components", {}).get("responses", {}).items()
    }
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, shared))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(items)}" for tag, items in groups.items())
    title = f"{openapi['info']['title']} {openapi['info']['version']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(openapi['info']['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{body}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], shared: dict[str, Any]) -> str:
    rows = []
    for parameter in operation.get("parameters", ()):
        where = "required" if parameter.get("required") else "optional"
        rows.append(
            f"<tr><td><code>{escape(parameter['name'])}</code></td>"
            f"<td>{escape(parameter['in'])}, {where}</td>"
            f"<td>{escape(parameter.get('description', ''))}</td></tr>"
        )
    answers = ", ".join(
        f"{escape(code)} {escape(shared.get(answer.get('$ref'), answer).get('description', ''))}"
        for code, answer in operation["responses"].items()
    )
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    return (
        f'<details><summary><b class="m">{escape(method.upper())}</b> {escape(path)}</summary>'
        f"<p>{escape(operation.get('description', ''))}</p>{table}<p>Answers: {answers}</p></details>"
    )
