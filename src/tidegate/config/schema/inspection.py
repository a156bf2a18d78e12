# SPDX-License-Identifier: Apache-2.0
"""Section ``inspection``: who is asked before an act counts."""

from __future__ import annotations

from typing import Any, Literal

from tidegate.config.schema.base import Section, key


class InspectorKeys(Section):
    """One inspector."""

    use: str = key(
        "",
        "Name of an installed inspector (entry point group `tidegate.inspectors`), or `package.module:name`.",
    )
    name: str = key("", "What rules and the log call it; empty is `use`.")
    acts: list[Literal["login", "open_upload", "upload", "download", "delete"]] = key(
        ["upload"], "What it is asked about."
    )
    seconds: int = key(30, "How long it may take.", unit="seconds", ge=1, le=3600)
    on_error: Literal["refuse", "allow"] = key(
        "refuse", "What an act comes to if it fails or takes longer: `refuse` or `allow`."
    )
    options: dict[str, Any] = key({}, "What the inspector is given; see its documentation.", secret=True)


class InspectionKeys(Section):
    """Inspectors, which are asked before an act counts."""

    inspectors: list[InspectorKeys] = key(
        [], "Asked in this order before an upload is begun or published, a download, a removal or a login."
    )
