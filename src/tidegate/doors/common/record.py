# SPDX-License-Identifier: Apache-2.0
"""The events of one connection: that it came, who logged in or did not, and that it ended.

Every door makes these events here and nowhere else, so that they mean the same whatever the protocol.
"""

from __future__ import annotations

import logging
import time
import typing
from collections.abc import Callable
from typing import Final

from tidegate.abc import Credential
from tidegate.errors import LoginRefused, TidegateError
from tidegate.events.kinds import Connected, ConnectionRefused, Disconnected, Event, LoggedIn, LoginFailed
from tidegate.identity.api import LoginService, PartialLogin
from tidegate.model import Origin, Peer, Principal, Protocol

MAX_CLIENT_VERSION: Final = 128
"""Characters of the client's version that are put on record."""

Emit = Callable[[Event], None]

log = logging.getLogger(__name__)


def shown_version(text: str) -> str:
    """A client's name and version as they are put on record: printable and bounded."""
    text = text[:MAX_CLIENT_VERSION]
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def refused(
    emit: Emit, protocol: Protocol, address: str, rule: str, text: str, *, unreported: int = 0
) -> None:
    """Put on record that a connection was not taken.

    Args:
        emit: takes events.
        protocol: of the door.
        address: of the client, without port.
        rule: the limit or list that decided.
        text: one sentence.
        unreported: refusals by this rule that were not put on record; the text is given their number.
    """
    if unreported:
        text = f"{text}, {unreported} more since the last report"
    log.warning("connection from %s refused: %s: %s", address, rule, text)
    origin = Origin(protocol=protocol.value, ip=address)
    emit(ConnectionRefused(origin=origin, rule=rule, text=text, unreported=unreported))


class Events(typing.Protocol):
    """Takes events; `tidegate.events.bus.Bus` does."""

    def emit(self, event: Event, *, kept: bool = False) -> None:
        """Queue an event; `kept` says that it was given to `keep`."""
        ...

    async def keep(self, event: Event) -> None:
        """Store an event, if it must not be lost, before what it tells of is done.

        Raises:
            ProviderUnavailable: that is not possible now.
        """
        ...


class ConnectionRecord:
    """The record of one connection. Made when it comes, `closed` when it has ended.

    Args:
        events: takes events.
        peer: the other end.
        encrypted: see the attribute.

    Attributes:
        cipher: that seals what is sent, for the log; empty if that is not known.
        encrypted: True while nobody on the way can read what is sent; a door that begins in the clear sets
            it when that has changed.
        failures: failed logins on record.
        logged_in: True once a login was accepted.
    """

    __slots__ = (
        "_events", "_kept", "_peer", "_started", "cipher", "encrypted", "failures", "logged_in", "origin",
    )  # fmt: skip

    def __init__(self, events: Events, peer: Peer, *, encrypted: bool) -> None:
        self._events = events
        self.cipher = ""
        self.encrypted = encrypted
        self._kept: LoggedIn | None = None
        self._peer = peer
        self._started = time.monotonic()
        self.origin = Origin.of(peer)
        self.failures = 0
        self.logged_in = False
        self._events.emit(Connected(origin=self.origin))

    @property
    def username(self) -> str:
        """The user name of the login, as far as is known."""
        return self.origin.username

    def secured(self, peer: Peer) -> None:
        """The connection is encrypted from here on, and its protocol is that of `peer`."""
        self.encrypted = True
        self._peer = peer
        self.origin = Origin.of(peer, self.origin.username)

    def named(self, username: str) -> None:
        """A user name was given; later events have it."""
        if username != self.origin.username:
            self.origin = Origin.of(self._peer, username)

    def login_failed(self, method: str, reason: str, rule: str = "") -> None:
        """A login was refused.

        Args:
            method: of the login, such as ``password``.
            reason: one word for the log, see `LoginRefused.reason`.
            rule: the rule that decided, if one did.
        """
        self.failures += 1
        self._events.emit(LoginFailed(origin=self.origin, login_type=method, reason=reason, rule=rule))

    async def login_is_right(self, principal: Principal, client_version: str = "") -> None:
        """Keep that somebody logged in, before they are told, if a kept sink wants that.

        Raises:
            ProviderUnavailable: that is not possible now; they may not come in.
        """
        event = self._logged_in(Origin.of(self._peer, principal.username), principal, client_version)
        await self._events.keep(event)
        self._kept = event

    def login_accepted(self, principal: Principal, client_version: str = "") -> None:
        """A login was accepted."""
        self.logged_in = True
        self.named(principal.username)
        event = self._logged_in(self.origin, principal, client_version)
        kept, self._kept = self._kept, None
        self._events.emit(event, kept=kept == event)

    def _logged_in(self, origin: Origin, principal: Principal, client_version: str) -> LoggedIn:
        return LoggedIn(
            origin=origin,
            method=principal.method,
            client_version=client_version,
            encrypted=self.encrypted,
            cipher=self.cipher,
            elapsed=time.monotonic() - principal.asked if principal.asked else -1.0,
        )

    def closed(self, *, by: str = "", error: str = "", client_version: str = "") -> None:
        """The connection ended. Without any login on record, that is put on record first.

        Args:
            by: who ended it if not the client, see `events.kinds.Disconnected.by`.
            error: what went wrong, empty if nothing did.
            client_version: what the client said it is.
        """
        if not self.logged_in and not self.failures:
            self.login_failed("no_auth_tried", error or by)
        self._events.emit(
            Disconnected(
                origin=self.origin,
                duration=time.monotonic() - self._started,
                by=by,
                client_version=client_version,
                error=error,
                logged_in=self.logged_in,
            )
        )


async def authenticate(
    service: LoginService,
    record: ConnectionRecord,
    peer: Peer,
    username: str,
    credential: Credential,
    *,
    after: PartialLogin | None = None,
    client_version: str = "",
    leaves: frozenset[str] = frozenset(),
) -> Principal | PartialLogin | None:
    """Ask the login service; what is refused, or cannot be judged, is on record and answered with None.

    Raises:
        LoginRefused: for one of the reasons `leaves`, which are not put on record.
    """
    try:
        outcome = await service.authenticate(peer, username, credential, after=after)
        if isinstance(outcome, Principal):
            await record.login_is_right(outcome, client_version)
        return outcome
    except LoginRefused as refusal:
        if refusal.reason in leaves:
            raise
        record.login_failed(credential.kind, refusal.reason, refusal.rule)
    except TidegateError as error:
        log.error("%s: login of %r could not be judged: %s", peer.connection_id, username, error)
        record.login_failed(credential.kind, "provider_unavailable")
    except Exception:
        log.exception("%s: judging a login failed", peer.connection_id)
        record.login_failed(credential.kind, "internal_error")
    return None
