# SPDX-License-Identifier: Apache-2.0
"""The listening sockets of a door, one or more for each binding."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from tidegate.doors.common.ports import bind
from tidegate.doors.common.proxied import ProxyGate, Turned
from tidegate.errors import ConfigError, Problem
from tidegate.model.door import Endpoint
from tidegate.model.proxies import Ends, ProxyOptions
from tidegate.model.refusal import Refusal
from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor

log = logging.getLogger(__name__)


class Bindable(Protocol):
    """One address to listen on.

    Attributes:
        label: key of the binding or the flag that gave it, for errors.
        address: host name or address; empty for every interface.
        port: TCP port; 0 takes a free one.
    """

    @property
    def label(self) -> str:
        """Key of the binding or the flag that gave it, for errors."""
        ...

    @property
    def address(self) -> str:
        """Host name or address; empty for every interface."""
        ...

    @property
    def port(self) -> int:
        """TCP port; 0 takes a free one."""
        ...


BindingT = TypeVar("BindingT", bound=Bindable)

Accepted = Callable[[BindingT, socket.socket, Ends], None]
"""Gets the binding, an accepted, non-blocking socket and its ends; owns the socket from then on."""


class Listeners(Generic[BindingT]):
    """Accepts connections on every binding of a door. Life: constructed, `open`, `close`.

    Args:
        ledger: of the process; connections are refused when descriptors run low, and its `proxies` say whose
            PROXY header is read.
        accepted: gets connections, behind their PROXY header.
        turned: told of those that were closed for their PROXY header; None logs them.
    """

    def __init__(self, ledger: Ledger, accepted: Accepted[BindingT], turned: Turned | None = None) -> None:
        self._ledger = ledger
        self._accepted = accepted
        self._turned = turned or _log_turned
        self._open: list[tuple[BindingT, Acceptor]] = []
        self._gates: list[ProxyGate] = []

    async def open(self, bindings: Sequence[BindingT], backlog: int = 256) -> None:
        """Listen on all of them, or on none.

        Args:
            bindings: where.
            backlog: connections that the kernel holds until they are accepted.

        Raises:
            ConfigError: addresses cannot be had; every one is named.
        """
        problems: list[Problem] = []
        try:
            for binding in bindings:
                try:
                    sockets = await bind(
                        binding.label, binding.address, binding.port, backlog, self._ledger.inherited
                    )
                except ConfigError as error:
                    problems += error.problems
                    continue
                gate = ProxyGate(self._proxies, partial(self._accepted, binding), self._turned)
                self._gates.append(gate)
                self._open.append(
                    (binding, Acceptor(sockets, gate.take, self._ledger.descriptors, self._ledger.newcomers))
                )
            if problems:
                raise ConfigError(problems)
        except BaseException:
            self.close()
            raise
        for _, acceptor in self._open:
            acceptor.start()

    def _proxies(self) -> ProxyOptions:
        return self._ledger.proxies

    @property
    def ports(self) -> list[int]:
        """Ports that are listened on, one for each binding."""
        return [acceptor.port for _, acceptor in self._open]

    def endpoints(self, *, tls: Callable[[BindingT], bool] = lambda _: False) -> tuple[Endpoint, ...]:
        """The endpoints that accept connections."""
        return tuple(
            Endpoint(binding.address, acceptor.port, tls=tls(binding)) for binding, acceptor in self._open
        )

    def close(self) -> None:
        """Stop listening. Safe to call twice."""
        closing, self._open = self._open, []
        for _, acceptor in closing:
            acceptor.close()
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.close()


def _log_turned(address: str, refusal: Refusal) -> None:
    log.warning("connection from %s refused: %s: %s", address, refusal.rule, refusal.text)
