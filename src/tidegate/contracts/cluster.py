# SPDX-License-Identifier: Apache-2.0
"""The contract on live state that several nodes share.

What is live is forgotten when its holders are gone: sessions and messages. What has to outlive that
(accounts, usage, its marks by node, revocations) is in the data provider. ADR 0033 says which limit is exact
on one node and on several.

A driver is found by the name in `cluster.driver`, and what makes it is called with the name of its node and
the options of the configuration. It states by `Live.shared` if other nodes see what it holds. Names are texts
of at most `MAX_NAME` characters; a driver refuses longer ones with ValueError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

MAX_NAME: Final = 512
"""Characters of a name of a slot or of its holder."""
MAX_FIELDS: Final = 16
"""Fields of one message."""
MAX_FIELD_CHARS: Final = 4096
"""Characters of one field of a message."""
MAX_SUBSCRIBERS: Final = 1000
"""Subscriptions of one node."""

Topic = Literal["close_user"]
"""``close_user`` (username, by): end the user's connections."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something said to every node.

    Attributes:
        node: who said it.
        fields: by topic.
    """

    topic: Topic
    node: str
    fields: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Message], Awaitable[None]]


class Live(Protocol):
    """Live state. Life: constructed (pure), `open`, used, `close` (legal after a failed open).

    Every method but `give_slot` and `subscribe` may raise `tidegate.errors.WorldError` while what is shared
    cannot be reached; whoever asks decides what that means, and a driver recovers by itself.
    """

    @property
    def node(self) -> str:
        """The name of this node; unique among those that share."""
        ...

    @property
    def shared(self) -> bool:
        """True if other nodes see what this driver holds."""
        ...

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Give back what this node holds, and release everything."""
        ...

    # -- slots -------------------------------------------------------------------------------------------

    async def take_slot(self, name: str, holder: str, *, limit: int = 0) -> bool:
        """Take one of the slots of a name; test and act are one step for all nodes.

        A slot belongs to this node: it ends with `give_slot`, with `close`, and a while after a node that
        does not answer any more.

        Args:
            name: for instance ``account:alice`` or ``host:192.0.2.7``.
            holder: who takes it, for instance a connection; taking twice is taking once.
            limit: slots there are; 0 is no limit, and the slot counts all the same.

        Returns:
            False if all are taken; nothing was taken then.
        """
        ...

    def give_slot(self, name: str, holder: str) -> None:
        """Give a slot back; unknown is no error. What has to be sent goes out in the background."""
        ...

    async def slots(self, name: str) -> int:
        """Slots that are taken, by all nodes."""
        ...

    # -- messages --------------------------------------------------------------------------------------------

    async def publish(self, topic: Topic, **fields: str) -> None:
        """Say something to every node, this one among them; at most once, in order by sender.

        It returns when the handlers of this node are through. A node that was away has missed it, so nothing
        may rest on messages alone.
        """
        ...

    def subscribe(self, topic: Topic, handler: Handler) -> Callable[[], None]:
        """Have a handler called for each message; what is returned ends that.

        An error of a handler is logged and stops no other.
        """
        ...
