# SPDX-License-Identifier: Apache-2.0
"""Section ``cluster``: what servers share while they run."""

from __future__ import annotations

from typing import Any

from tidegate.config.schema.base import Section, key


class ClusterKeys(Section):
    """Sessions and messages that several servers share; accounts are shared by the data provider."""

    driver: str = key(
        "memory",
        "`memory` shares nothing: `max_sessions` is for each server. Another name is an installed driver "
        "(entry point group `tidegate.cluster`), or `package.module:name`.",
    )
    options: dict[str, Any] = key({}, "What the driver is given; see its documentation.", secret=True)
