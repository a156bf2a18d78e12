# SPDX-License-Identifier: Apache-2.0
"""Ill-behaved WebDAV clients, for `tidegate.testing.peers`: cheap to send, dear to take, all in one go.

They read and drop what the server answers, so that it is never spared the work by a full socket.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate.testing.peers import Armed, Target

_NAMES: Final = "".join(f"<n:a{number}/>" for number in range(200))
FIND: Final = f'<D:propfind xmlns:D="DAV:" xmlns:n="urn:n"><D:prop>{_NAMES}</D:prop></D:propfind>'
"""Asks for 200 properties that nothing has."""
PATCH: Final = (
    '<D:propertyupdate xmlns:D="DAV:" xmlns:n="urn:n"><D:set><D:prop>'
    + "".join(f"<n:a{number}>{'x' * 20}</n:a{number}>" for number in range(150))
    + "</D:prop></D:set></D:propertyupdate>"
)
"""Sets 150 properties."""
LOCK: Final = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)


def _request(target: Target, method: str, path: str, body: str | bytes = b"", **headers: str) -> bytes:
    """A request as it is sent."""
    data = body.encode() if isinstance(body, str) else body
    words = base64.b64encode(f"{target.username}:{target.password}".encode()).decode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *([f"Authorization: Basic {words}"] if target.username else []),
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        *([f"Content-Length: {len(data)}"] if "Transfer_Encoding" not in headers else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def _armed(target: Target, load: bytes) -> Armed:
    from tidegate.testing.peers import Armed

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", target.dav_port)
    return Armed(transport, load, lambda: None)


def _many(
    method: str, path: str = "/", body: str = "", **headers: str
) -> Callable[[Target, int], Awaitable[Armed]]:
    """So many requests behind each other."""

    async def arm(target: Target, count: int) -> Armed:
        return await _armed(target, _request(target, method, path, body, **headers) * count)

    return arm


async def _listings(target: Target, count: int) -> Armed:
    """Listings of a large directory."""
    return await _armed(target, _request(target, "PROPFIND", target.directory, FIND, Depth="1") * count)


async def _strangers(target: Target, count: int) -> Armed:
    """Requests with passwords that are not right, each another one."""
    load = bytearray()
    for number in range(count):
        words = base64.b64encode(f"{target.username}:{number}".encode()).decode()
        head = f"PROPFIND / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {words}\r\n"
        load += f"{head}Content-Length: 0\r\n\r\n".encode()
    return await _armed(target, bytes(load))


async def _chunks(target: Target, count: int) -> Armed:
    """One upload in chunks of one byte."""
    head = _request(target, "PUT", "/chunks", Transfer_Encoding="chunked")
    return await _armed(target, head + b"1\r\nx\r\n" * count + b"0\r\n\r\n")


async def _uploads(target: Target, count: int) -> Armed:
    """Small new files."""
    load = b"".join(_request(target, "PUT", f"/put-{number % 500}", "x") for number in range(count))
    return await _armed(target, load)


async def _forms(target: Target, count: int) -> Armed:
    """One form of empty fields."""
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    body = part * count + b"--b--\r\n"
    return await _armed(
        target, _request(target, "POST", "/", body, Content_Type="multipart/form-data; boundary=b")
    )


DAV_FLOODS: Final[dict[str, Callable[[Target, int], Awaitable[Armed]]]] = {
    "DAV names": _many("HEAD", "/missing"),
    "DAV properties asked for": _many("PROPFIND", "/", FIND, Depth="0"),
    "DAV properties set": _many("PROPPATCH", "/many", PATCH),
    "DAV locks": _many("LOCK", "/many", LOCK, Depth="0"),
    "DAV conditions": _many("HEAD", "/many", If="(<urn:a>) " * 50),
    "DAV listings": _listings,
    "DAV wrong passwords": _strangers,
    "DAV chunks of one byte": _chunks,
    "DAV small files": _uploads,
    "DAV form fields": _forms,
}
"""By what they send."""
