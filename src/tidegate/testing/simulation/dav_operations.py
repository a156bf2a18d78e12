# SPDX-License-Identifier: Apache-2.0
"""Operations of WebDAV clients: the methods of the WebDAV door, over requests that are simulated.

They have no weight of their own: histories have them if `Rules.acts` names them.
"""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from tidegate.doors.dav.application import METHODS
from tidegate.doors.dav.call import Call, Turns, rejection
from tidegate.doors.dav.options import DavBinding, DavOptions
from tidegate.doors.dav.request import Rejected, Request
from tidegate.errors import Conflict, PeerGone, TidegateError
from tidegate.model import http_scope
from tidegate.testing.simulation.operations import DIRECTORIES, operation, some_file

if TYPE_CHECKING:
    from tidegate.doors.dav.client import Client as DavClient
    from tidegate.testing.simulation.client import Client

DAV_ACTS: Final = (
    "dav-put",
    "dav-patch",
    "dav-get",
    "dav-copy",
    "dav-move",
    "dav-copy-tree",
    "dav-move-tree",
    "dav-delete",
    "dav-mkcol",
    "dav-propfind",
)
"""Names of the operations here."""

BREAKS: Final = 0.2
"""Share of bodies that break off."""


class _Handles:
    """Open files of a client, without a bound."""

    held = 0

    def full(self) -> str:
        """Never."""
        return ""

    def set(self, count: int) -> None:
        """Note how many are open."""
        self.held = count


class _Exchange:
    """A request on a connection that stays; what it sends is dropped."""

    disconnected = False
    tls = None
    expects_continue = False

    def __init__(self, draw: random.Random, sizes: tuple[int, ...]) -> None:
        self._draw = draw
        self._left = list(sizes)
        self._breaks = draw.randrange(len(sizes) + 1) if sizes and draw.random() < BREAKS else -1
        self._step = 0
        self.code = 0

    def proved(self) -> None:
        """Nothing."""

    def abort(self) -> None:
        """End the connection."""
        self.disconnected = True

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body."""
        await asyncio.sleep(self._draw.choice((0.0, 0.0, 0.001, 0.05)))
        if self._step == self._breaks:
            return {"type": "http.disconnect"}
        self._step += 1
        size = self._left.pop(0) if self._left else 0
        return {"type": "http.request", "body": b"x" * size, "more_body": bool(self._left)}

    async def send(self, message: Any) -> None:
        """Take a piece of the answer."""
        self.code = message.get("status", self.code)
        await asyncio.sleep(self._draw.choice((0.0, 0.0, 0.001)))


def _who(client: Client) -> SimpleNamespace:
    session = client.session
    return SimpleNamespace(session=session, principal=session.principal, handles=_Handles(), over=False)


async def ask(
    client: Client, draw: random.Random, method: str, path: str, *sizes: int, **headers: str
) -> None:
    """Carry out a request.

    Args:
        client: who asks.
        draw: of the operation.
        method: of HTTP.
        path: of it, plain text.
        sizes: of the pieces of its body.
        headers: with underscores for hyphens.

    Raises:
        TidegateError: it was not answered well.
    """
    exchange = _Exchange(draw, sizes)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if sizes:
        given |= (
            {"content-length": str(sum(sizes))} if draw.random() < 0.7 else {"transfer-encoding": "chunked"}
        )
    scope = {
        "method": method,
        "raw_path": path.encode(),
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in {"host": "sim", **given}.items()],
        http_scope.BINDING: DavBinding(label="simulated", address="", port=0),
        http_scope.IP: "192.0.2.7",
        http_scope.EXCHANGE: exchange,
        http_scope.BY_PROXY: False,
    }
    request = Request(scope, cast("Any", exchange.receive), cast("Any", exchange.send))
    who = cast("DavClient", _who(client))
    call = Call(request, who, request.path, DavOptions(bindings=()), lambda: False, Turns())
    try:
        await METHODS[method][0](call)
    except Rejected as error:
        raise Conflict(f"{error.code} {error.text}") from None
    except PeerGone:
        raise
    except TidegateError as error:
        raise Conflict(f"{rejection(request, error).code}: {error.text}") from error
    if exchange.code >= 207:
        raise Conflict(str(exchange.code))


def _pieces(draw: random.Random) -> list[int]:
    return [draw.choice((1, 700, 2500, 5000, 40_000)) for _ in range(draw.randrange(1, 4))]


@operation(0)
async def dav_put(client: Client, draw: random.Random) -> None:
    """PUT: small bodies are received before the file is opened."""
    headers = {"if_none_match": "*"} if draw.random() < 0.2 else {}
    await ask(client, draw, "PUT", some_file(client, draw), *_pieces(draw), **headers)


@operation(0)
async def dav_patch(client: Client, draw: random.Random) -> None:
    """PATCH at the end or at the beginning."""
    headers = {
        "content_type": "application/x-sabredav-partialupdate",
        "x_update_range": draw.choice(("append", "bytes=0-")),
    }
    await ask(client, draw, "PATCH", some_file(client, draw), *_pieces(draw), **headers)


@operation(0)
async def dav_get(client: Client, draw: random.Random) -> None:
    """GET."""
    await ask(client, draw, "GET", some_file(client, draw))


def _over(draw: random.Random) -> str:
    return draw.choice(("T", "T", "F"))


@operation(0)
async def dav_copy(client: Client, draw: random.Random) -> None:
    """COPY of a file, now and then over a directory."""
    target = draw.choice((some_file(client, draw), draw.choice(DIRECTORIES)))
    await ask(client, draw, "COPY", some_file(client, draw), destination=target, overwrite=_over(draw))


@operation(0)
async def dav_move(client: Client, draw: random.Random) -> None:
    """MOVE of a file, now and then over a directory."""
    target = draw.choice((some_file(client, draw), draw.choice(DIRECTORIES)))
    await ask(client, draw, "MOVE", some_file(client, draw), destination=target, overwrite=_over(draw))


@operation(0)
async def dav_copy_tree(client: Client, draw: random.Random) -> None:
    """COPY of a directory, over another one or a file."""
    source = draw.choice(DIRECTORIES)
    target = draw.choice((*DIRECTORIES, *DIRECTORIES, some_file(client, draw)))
    await ask(client, draw, "COPY", source, destination=target, overwrite=_over(draw))


@operation(0)
async def dav_move_tree(client: Client, draw: random.Random) -> None:
    """MOVE of a directory, over another one or a file."""
    source = draw.choice(DIRECTORIES)
    target = draw.choice((*DIRECTORIES, *DIRECTORIES, some_file(client, draw)))
    await ask(client, draw, "MOVE", source, destination=target, overwrite=_over(draw))


@operation(0)
async def dav_delete(client: Client, draw: random.Random) -> None:
    """DELETE of a file or a whole directory."""
    await ask(client, draw, "DELETE", draw.choice((some_file(client, draw), *DIRECTORIES)))


@operation(0)
async def dav_mkcol(client: Client, draw: random.Random) -> None:
    """MKCOL."""
    await ask(client, draw, "MKCOL", draw.choice(DIRECTORIES))


@operation(0)
async def dav_propfind(client: Client, draw: random.Random) -> None:
    """PROPFIND of a directory; 207 is its success."""
    try:
        await ask(client, draw, "PROPFIND", draw.choice(DIRECTORIES), depth="1")
    except Conflict as answer:
        if str(answer) != "207":
            raise
