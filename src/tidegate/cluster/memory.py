# SPDX-License-Identifier: Apache-2.0
"""Live state of one process: what `contracts.cluster.Live` means where nobody else shares it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.contracts.cluster import (
    MAX_FIELD_CHARS,
    MAX_FIELDS,
    MAX_NAME,
    MAX_SUBSCRIBERS,
    Handler,
    Live,
    Message,
    Topic,
)
from tidegate.errors import OperatorError

_log = logging.getLogger(__name__)


class MemoryHub:
    """State that the nodes of one process share, to be used from one event loop."""

    def __init__(self) -> None:
        self.slots: dict[str, set[tuple[str, str]]] = {}
        self.handlers: dict[Topic, list[tuple[str, Handler]]] = {}


class MemoryLive:
    """`contracts.cluster.Live` in dictionaries.

    Args:
        node: name of this node.
        hub: shared with other nodes of this process; None keeps everything to itself, as a server does.
    """

    def __init__(self, node: str = "local", *, hub: MemoryHub | None = None) -> None:
        self._node = node
        self._shared = hub is not None
        self._hub = hub or MemoryHub()

    @property
    def node(self) -> str:
        """See `Live`."""
        return self._node

    @property
    def shared(self) -> bool:
        """See `Live`."""
        return self._shared

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Give back the slots of this node, and end its subscriptions."""
        for name, holders in list(self._hub.slots.items()):
            for node, holder in list(holders):
                if node == self._node:
                    self.give_slot(name, holder)
        for handlers in self._hub.handlers.values():
            handlers[:] = [one for one in handlers if one[0] != self._node]

    async def take_slot(self, name: str, holder: str, *, limit: int = 0) -> bool:
        """See `Live`."""
        holders = self._hub.slots.get(_checked(name), set())
        mine = self._node, _checked(holder)
        if mine not in holders:
            if limit and len(holders) >= limit:
                return False
            self._hub.slots.setdefault(name, holders).add(mine)
        return True

    def give_slot(self, name: str, holder: str) -> None:
        """See `Live`."""
        holders = self._hub.slots.get(name)
        if holders is not None:
            holders.discard((self._node, holder))
            if not holders:
                del self._hub.slots[name]

    async def slots(self, name: str) -> int:
        """See `Live`."""
        return len(self._hub.slots.get(name, ()))

    async def publish(self, topic: Topic, **fields: str) -> None:
        """See `Live`."""
        if len(fields) > MAX_FIELDS or any(len(text) > MAX_FIELD_CHARS for text in fields.values()):
            raise ValueError(f"a message on {topic} is too large")
        message = Message(topic, self.node, fields)
        for _, handler in list(self._hub.handlers.get(topic, ())):
            try:
                await handler(message)
            except Exception:
                _log.exception("a message on %s was not handled", topic)

    def subscribe(self, topic: Topic, handler: Handler) -> Callable[[], None]:
        """See `Live`."""
        handlers = self._hub.handlers.setdefault(topic, [])
        mine = self._node, handler
        if (
            sum(node == self._node for each in self._hub.handlers.values() for node, _ in each)
            >= MAX_SUBSCRIBERS
        ):
            raise ValueError(f"more than {MAX_SUBSCRIBERS} subscriptions")
        handlers.append(mine)

        def end() -> None:
            if mine in handlers:
                handlers.remove(mine)

        return end


def create(node: str, options: Mapping[str, Any]) -> MemoryLive:
    """The driver ``memory`` of the configuration.

    Raises:
        OperatorError: it is given options, and has none.
    """
    if options:
        raise OperatorError(f"memory has no options, and {', '.join(sorted(options))} is given")
    return MemoryLive(node)


def _checked(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(f"a name has {len(name)} characters, more than {MAX_NAME}")
    return name


def _keeps_contract(live: MemoryLive) -> Live:
    return live
