# SPDX-License-Identifier: Apache-2.0
"""Shared by the HTTP door and applications: keys of the ASGI scope of every request, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

IP: Final = "tidegate.ip"
"""str: address of the client, behind proxies that may be believed too."""

REQUEST_ID: Final = "tidegate.request"
"""str: id of the request, in the log and in the header ``X-Request-Id``."""

FOREIGN: Final = "tidegate.foreign"
"""bool: a page of another site made a browser send the request."""

FOREIGN_REFUSED: Final = "requests that pages of other sites make are not accepted"
"""The answer to such a request where it is refused."""


def crashed(scope: Mapping[str, Any]) -> str:
    """The text that a client is told about a fault of the server: where it stands in the log, no more."""
    return f"see the log, request {scope[REQUEST_ID]}"
