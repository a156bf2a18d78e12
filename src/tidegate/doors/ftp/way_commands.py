# SPDX-License-Identifier: Apache-2.0
"""The form and the way of data: TYPE, REST, PASV, PORT and the like."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.doors.ftp.conversation import MAX_REST, Conversation, Rejected
from tidegate.doors.ftp.data import DataConnection, DataFailed
from tidegate.doors.ftp.options import Reuse
from tidegate.doors.ftp.ways import LEAST_PORT, Active, Passive
from tidegate.doors.ftp.wire import addresses
from tidegate.model.address import parse_address, plain_address
from tidegate.model.proxies import NO_PROXIES


async def type_(c: Conversation, argument: str) -> None:
    """TYPE: I and L 8 as it is, A (N) with the ends of lines of the network."""
    words = argument.upper().split()
    if words in (["I"], ["L", "8"], ["L8"]):
        c.binary = True
    elif words in (["A"], ["A", "N"], ["AN"]):
        c.binary = not c.binding.ascii
    else:
        raise Rejected(504 if words and words[0] in ("A", "E", "I", "L") else 501, "TYPE I and TYPE A N.")
    await c.reply(200, f"TYPE {'I' if words[0] in ('I', 'L', 'L8') else 'A'}")


async def mode(c: Conversation, argument: str) -> None:
    """MODE: S."""
    if argument.strip().upper() != "S":
        raise Rejected(504, "MODE S is what there is.")
    await c.reply(200, "MODE S")


async def stru(c: Conversation, argument: str) -> None:
    """STRU: F, and R as RFC 1123 section 4.1.2.3 has it for files without records."""
    if argument.strip().upper() != "F":
        raise Rejected(504, "STRU F is what there is.")
    await c.reply(200, "STRU F")


async def rest(c: Conversation, argument: str) -> None:
    """REST: where the next transfer begins."""
    text = argument.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > MAX_REST:
        raise Rejected(501, "REST: expected a number of bytes.")
    if int(text) and not c.binary:
        raise Rejected(504, "REST needs TYPE I.")
    c.next.offset, c.next.end = int(text), None
    await c.reply(350, f"The next transfer begins at {int(text)}.")


async def rang(c: Conversation, argument: str) -> None:
    """RANG (draft-bryan-ftp-range): first and last byte of the next download or digest; 1 0 is everything."""
    words = argument.split()
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        raise Rejected(501, "RANG: expected the first and the last byte.")
    first, last = map(int, words)
    if (first, last) == (1, 0):
        c.next.offset, c.next.end = 0, None
    elif first > last or last > MAX_REST or not c.binary:
        raise Rejected(501, "RANG: such a range there is not.")
    else:
        c.next.offset, c.next.end = first, last + 1
    await c.reply(350, f"Bytes {c.next.offset} to {'the end' if c.next.end is None else c.next.end - 1}.")


# -- where -------------------------------------------------------------------------------------------------


def _reached(c: Conversation) -> str:
    """The address that the client reached: ours, or that of the proxy it came by."""
    return plain_address(c.peer.local_address.rpartition(":")[0])


def _listen(c: Conversation) -> Passive:
    c.next.forget_way()
    descriptors = c.door.ledger.descriptors
    peer = c.peer.remote_ip if c.binding.passive_same_peer else ""
    try:
        ends = c.visit.ends
        proxies = c.door.ledger.proxies if ends is not None and ends.proxy else NO_PROXIES
        way = Passive.listen(c.own_address, c.options.passive_ports, peer, proxies)
    except DataFailed as error:
        if isinstance(error.__cause__, OSError):
            descriptors.short(error.__cause__)
        raise Rejected(error.code, str(error)) from error
    if not descriptors.admits(way.fileno):
        way.close()
        raise Rejected(425, "The server has no room for a data connection now.")
    if c.protects and c.tls_context is not None:
        way.welcome(
            lambda sock: DataConnection(sock, c.options.stall_seconds, c.activity.touch),
            c.tls_context,
            require_reuse=c.binding.session_reuse is Reuse.REQUIRE,
        )
    c.next.goes(way)
    return way


async def pasv(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """PASV."""
    c.files  # noqa: B018  no port is opened for who is not logged in
    if c.epsv_only:
        raise Rejected(501, "EPSV ALL was sent: use EPSV.")
    address = await passive_address(c)
    try:
        addresses.passive(address, 0)
    except ValueError:
        raise Rejected(522, "PASV is for IPv4: use EPSV.") from None
    await c.reply(227, addresses.passive(address, _listen(c).port))


async def passive_address(c: Conversation) -> str:
    """The address that PASV names to this client."""
    for override in c.binding.passive_overrides:
        if override.networks.match(c.peer.remote_ip) is not None:
            return override.address or _reached(c)
    return await c.door.passive_address(c.binding) or _reached(c)


async def epsv(c: Conversation, argument: str) -> None:
    """EPSV."""
    c.files  # noqa: B018  no port is opened for who is not logged in
    try:
        parsed = parse_address(_reached(c))
        only = addresses.parse_epsv(argument, parsed.version if parsed else 4)
    except addresses.UnknownFamily as error:
        raise Rejected(522, str(error)) from None
    except ValueError as error:
        raise Rejected(501, f"EPSV: {error}.") from None
    if only:
        c.epsv_only = True
        await c.reply(200, "EPSV it is.")
        return
    await c.reply(229, addresses.extended_passive(_listen(c).port))


async def _active(c: Conversation, parse: Callable[[str], tuple[str, int]], argument: str) -> None:
    c.files  # noqa: B018  nobody is connected to for who is not logged in
    if c.epsv_only:
        raise Rejected(501, "EPSV ALL was sent: use EPSV.")
    if not c.binding.active:
        raise Rejected(502, "Data connections are passive here: PASV or EPSV.")
    try:
        address, port = parse(argument)
    except addresses.UnknownFamily as error:
        raise Rejected(522, str(error)) from None
    except ValueError as error:
        raise Rejected(501, f"{error}.") from None
    # A client may have data sent to itself alone (RFC 2577 section 3): whoever obeys more attacks others.
    if plain_address(address) != c.peer.remote_ip or port < LEAST_PORT:
        raise Rejected(501, f"Data goes to your own address alone, to a port of {LEAST_PORT} or more.")
    c.next.goes(Active(c.own_address, plain_address(address), port))
    await c.reply(200, "Noted.")


async def port(c: Conversation, argument: str) -> None:
    """PORT."""
    await _active(c, addresses.parse_port, argument)


async def eprt(c: Conversation, argument: str) -> None:
    """EPRT."""
    await _active(c, addresses.parse_eprt, argument)
