# SPDX-License-Identifier: Apache-2.0
"""Watches logins for the defence: which of them are misdeeds, and which connections cost a penalty."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tidegate.defence.defender import Misdeed
from tidegate.defence.penalties import SEVERITY, Offence
from tidegate.defence.pipeline import Defence, Turned
from tidegate.doors.common.record import refused
from tidegate.events.bus import Bus
from tidegate.events.kinds import Disconnected, LoggedIn, LoginFailed, Refused
from tidegate.model import Protocol
from tidegate.model.address_list import AddressList
from tidegate.model.refusal import Refusal
from tidegate.server.defence_options import door_of, misdeed_of, offence_at_end, offence_of

NO_LOGIN: Final = "no_auth_tried"
"""The `login_type` of connections that ended without a login."""

MAX_CONNECTIONS: Final = 10_000
"""Connections with a refused key or login that are remembered."""


class LoginWatch:
    """Tells the defence of misdeeds and offences.

    Args:
        defence: keeps scores and penalties.

    Attributes:
        monitors: addresses from where a connection without a login is no misdeed.
    """

    def __init__(self, defence: Defence) -> None:
        self._defence = defence
        self.monitors = AddressList(())
        self._offers: OrderedDict[str, None] = OrderedDict()
        self._failing: OrderedDict[str, Offence] = OrderedDict()

    def take(self, event: object) -> None:
        """Count refused logins, connections that end without one, and infected uploads."""
        if isinstance(event, LoginFailed):
            if event.login_type == NO_LOGIN and self.monitors.match(event.origin.ip) is not None:
                return
            self._remember(event)
            self._count(event)
        elif isinstance(event, LoggedIn):
            self._failing.pop(event.origin.connection_id, None)
        elif isinstance(event, Disconnected):
            before = self._failing.pop(event.origin.connection_id, None)
            offence = None if before is None else offence_at_end(event.by, before)
            if offence is not None:
                self._defence.penalise(event.origin.ip, door_of(event.origin.protocol), offence)
        elif isinstance(event, Refused) and event.infected:
            self._defence.mark(event.origin.ip, door_of(event.origin.protocol), Misdeed.INFECTED)

    def _count(self, event: LoginFailed) -> None:
        misdeed = misdeed_of(event)
        if misdeed is None:
            return
        origin = event.origin
        if event.login_type == "publickey" and origin.connection_id:
            # Agents offer several keys in one login.
            if origin.connection_id in self._offers:
                return
            self._offers[origin.connection_id] = None
            if len(self._offers) > MAX_CONNECTIONS:
                self._offers.popitem(last=False)
        self._defence.mark(origin.ip, door_of(origin.protocol), misdeed)

    def _remember(self, event: LoginFailed) -> None:
        """Penalties are charged once for each connection, at its end; a login in the meantime spares it."""
        offence, origin = offence_of(event), event.origin
        if offence is None:
            return
        if not origin.connection_id:
            self._defence.penalise(origin.ip, door_of(origin.protocol), offence)
            return
        before = self._failing.get(origin.connection_id)
        if before is None or SEVERITY[offence] > SEVERITY[before]:
            self._failing[origin.connection_id] = offence
        if len(self._failing) > MAX_CONNECTIONS:
            self._failing.popitem(last=False)


def on_record(bus: Bus) -> Turned:
    """The function that puts refused requests on record."""

    def tell(address: str, protocol: str, refusal: Refusal) -> None:
        refused(
            bus.emit, Protocol(protocol), address, refusal.rule, refusal.text, unreported=refusal.unreported
        )

    return tell
