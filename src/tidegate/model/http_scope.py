# SPDX-License-Identifier: Apache-2.0
"""Shared by the HTTP door and applications: keys of the ASGI scope of every request, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

IP: Final = "tidegate.ip"
"""str: address of the client, behind proxies that may be believed too."""

REQUEST_ID: Final = "tidegate.request"
"""str: id of the request, in the log and in the header ``X-Request-Id``."""

FOREIGN: Final = "tidegate.foreign"
"""bool: a page of another site made a browser send the request."""

BY_PROXY: Final = "tidegate.by_proxy"
"""bool: the socket's other end is a proxy that may be believed."""

EXCHANGE: Final = "tidegate.exchange"
"""`Exchange`: the request on its connection."""

BINDING: Final = "tidegate.binding"
"""The key of the binding's value for its application (`EdgeOptions.binding`)."""

WHO: Final = "tidegate.who"
"""str: name of the account or administrator that the request is of; absent before they are known."""

PEER: Final = "tidegate.peer"
"""`tidegate.model.Peer`: the client whose request it is, at doors whose clients have sessions."""

FOREIGN_REFUSED: Final = "requests that pages of other sites make are not accepted"
"""The answer to such a request where it is refused."""


class Exchange(Protocol):
    """One request and its answer, on their connection.

    Attributes:
        disconnected: the client has gone.
    """

    disconnected: bool

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject` of the connection; None in the clear."""
        ...

    @property
    def expects_continue(self) -> bool:
        """True while the client waits for ``100 Continue``; reading its body sends that."""
        ...

    def proved(self) -> None:
        """The client has shown who they are: what comes on this connection is no work for a stranger."""
        ...

    def abort(self) -> None:
        """End the connection at once, so that the client cannot take the answer for complete."""
        ...


def proved(scope: Mapping[str, Any]) -> None:
    """As `Exchange.proved`; without a connection nothing."""
    exchange: Exchange | None = scope.get(EXCHANGE)
    if exchange is not None:
        exchange.proved()


def crashed(scope: Mapping[str, Any]) -> str:
    """The text that a client is told about a fault of the server: where it stands in the log, no more."""
    return f"see the log, request {scope[REQUEST_ID]}"
