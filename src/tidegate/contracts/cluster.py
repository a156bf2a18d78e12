# SPDX-License-Identifier: Apache-2.0
"""The contract on live state that several nodes share.

What is live is forgotten when its holders are gone: sessions, messages, write locks. What has to outlive that
(accounts, usage, its marks by node, revocations) is in the data provider. ADR 0033 says which limit is exact
on one node and on several.

A driver is found by the name in `cluster.driver`, and what makes it is called with the name of its node and
the options of the configuration. It states by `Live.shared` if other nodes see what it holds. Names are texts
of at most `MAX_NAME` characters; a driver refuses longer ones with ValueError.

Write locks (RFC 4918 sections 6 and 7) are on *places*: the identity of a file or directory in storage, a
text whose components are separated by slashes and which ends in none (`contracts.storage.Identifies`). So
whatever path, account or mount leads there meets the same lock. A driver decides in one step, for all who
share it, if a new lock can be; who asks decides whether an act is allowed in spite of the locks that it meets
(`tidegate.vfs.files.attached`). No timer is needed for each lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
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

MAX_OWNER: Final = 4096
"""Characters of what a client says about the owner of a lock (RFC 4918 section 14.17)."""
MAX_LOCK_SECONDS: Final = 86_400.0
"""Default of `LockLimits.seconds`: a lock that nobody refreshes ends after a day at the latest."""

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


# -- write locks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LockLimits:
    """Bounds of a lock table.

    Attributes:
        seconds: longest time that a lock is granted for.
        locks: locks in all.
        per_account: locks of one account.
    """

    seconds: float = MAX_LOCK_SECONDS
    locks: int = 10_000
    per_account: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRequest:
    """A lock that is wanted.

    Attributes:
        place: what is locked.
        account: whose lock it is; nobody else can use its token (RFC 4918 section 6.4).
        path: the place as the account names it, for messages.
        exclusive: no other lock may cover what this one covers.
        deep: everything below the place is covered (``Depth: infinity``).
        owner: what the client says, at most `MAX_OWNER` characters.
        seconds: for how long; more than the limit is the limit.
    """

    place: str
    account: str
    path: str = ""
    exclusive: bool = True
    deep: bool = False
    owner: str = ""
    seconds: float = MAX_LOCK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLock(LockRequest):
    """A lock as it is at the moment of the answer.

    Attributes:
        token: a URI that no other lock has or had (``urn:uuid:``, RFC 4918 section 6.5).
        seconds: granted at the last refresh.
        left: until it ends.
    """

    token: str
    left: float


class LockTable(Protocol):
    """Locks by place. Life: constructed (pure), used; what is shared is opened by `Live`.

    The two attributes are read before each act on files and cost no call. Coroutines may raise
    `tidegate.errors.WorldError` while what is shared cannot be reached.

    Attributes:
        active: False while no lock exists. A driver that cannot know that says True.
        generation: another number each time that a lock may have come to be.
    """

    active: bool
    generation: int

    def may_concern(self, place: str) -> bool:
        """False if certainly no lock is on the place, on a directory above it, or below it. Never waits."""
        ...

    async def acquire(self, wanted: LockRequest) -> HeldLock:
        """Lock a place. Test and act are one step.

        An exclusive lock excludes every other one on what it covers, whoever holds it; shared ones go
        together (RFC 4918 section 6.2).

        Raises:
            Locked: another lock is in the way.
            PeerLimit: the account, or all together, hold as many as they may.
            InvalidArgument: `owner` is too long, or `seconds` is not above 0.
        """
        ...

    async def refresh(self, token: str, account: str, seconds: float) -> HeldLock:
        """Let a lock of the account last `seconds` from now on.

        Raises:
            NotFound: the account has no such lock (any more).
        """
        ...

    async def release(self, token: str, account: str | None) -> bool:
        """End a lock; None for the account is an operator's. False if the account has no such lock."""
        ...

    async def covering(self, place: str) -> list[HeldLock]:
        """Locks on the place, and those of a directory above it that cover it."""
        ...

    async def within(self, place: str) -> list[HeldLock]:
        """Locks on the place, and on everything below it."""
        ...

    async def forget(self, place: str) -> None:
        """The place is gone with everything below it: end the locks there (RFC 4918 section 6.1)."""
        ...

    async def relocate(self, source: str, target: str, accounts: Collection[str]) -> None:
        """Storage has moved: locks of these accounts on the place and below it are on the target from now on.

        Token, end and everything else stay. Nothing happens if one of both is the other, or lies in it.
        """
        ...

    async def all(self, account: str | None = None) -> list[HeldLock]:
        """Every lock, or those of one account, by place."""
        ...
