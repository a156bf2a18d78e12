# SPDX-License-Identifier: Apache-2.0
"""The listening sockets of a door, one or more for each binding."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from tidegate.doors.common.ports import bind
from tidegate.errors import ConfigError, Problem
from tidegate.model.door import Endpoint
from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor


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

Accepted = Callable[[BindingT, socket.socket, Any], None]
"""Gets the binding, an accepted, non-blocking socket and the peer's address; owns the socket from then on."""


class Listeners(Generic[BindingT]):
    """Accepts connections on every binding of a door. Life: constructed, `open`, `close`.

    Args:
        ledger: of the process; connections are refused when descriptors run low.
        accepted: gets connections.
    """

    def __init__(self, ledger: Ledger, accepted: Accepted[BindingT]) -> None:
        self._ledger = ledger
        self._accepted = accepted
        self._open: list[tuple[BindingT, Acceptor]] = []

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
                    sockets = await bind(binding.label, binding.address, binding.port, backlog)
                except ConfigError as error:
                    problems += error.problems
                    continue
                take = partial(self._accepted, binding)
                self._open.append((binding, Acceptor(sockets, take, self._ledger.descriptors)))
            if problems:
                raise ConfigError(problems)
        except BaseException:
            self.close()
            raise
        for _, acceptor in self._open:
            acceptor.start()

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
