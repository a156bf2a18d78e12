# SPDX-License-Identifier: Apache-2.0
"""The answer to the question whether the server would do something; REST and the pages ask here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.accounts.actor import Actor
from tidegate.accounts.names import can_be_stored, fold_name
from tidegate.errors import InvalidArgument, NotFound
from tidegate.model import Intent, Peer, VPath
from tidegate.model.address import plain_address
from tidegate.packages import load_beside
from tidegate.policy import mistakes
from tidegate.policy.decision import Step
from tidegate.web.api.locks import lock_steps
from tidegate.web.api.services import Services

if TYPE_CHECKING:
    from tidegate.hooks.rehearsing import HookAnswers


class Question(Protocol):
    """The question; `schemas.Question` says what its parts mean."""

    @property
    def user(self) -> str:
        """Name of the account."""
        ...

    @property
    def op(self) -> str:
        """Word for the operation."""
        ...

    @property
    def path(self) -> str:
        """Path as the client knows it."""
        ...

    @property
    def target(self) -> str | None:
        """Second path of a rename, copy or link."""
        ...

    @property
    def ip(self) -> str:
        """Address of the client."""
        ...

    @property
    def protocol(self) -> str:
        """The door."""
        ...

    @property
    def method(self) -> str | None:
        """Login method; any if it is None."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes of the file."""
        ...

    @property
    def replaced(self) -> int | None:
        """Bytes of the file that is replaced."""
        ...

    @property
    def is_dir(self) -> bool | None:
        """True if the path is a directory."""
        ...

    @property
    def exists(self) -> bool | None:
        """True if the path exists."""
        ...

    @property
    def target_exists(self) -> bool:
        """True if the second path exists."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainQuestion:
    """A question without a schema."""

    user: str
    op: str
    path: str = "/"
    target: str | None = None
    ip: str = "127.0.0.1"
    protocol: str = "SFTP"
    method: str | None = None
    size: int | None = None
    replaced: int | None = None
    is_dir: bool | None = None
    exists: bool | None = None
    target_exists: bool = False


async def explain_connect(services: Services, ip: str, protocol: str) -> dict[str, Any]:
    """Every rule about who may connect, as it would decide about an address now. Nothing is counted.

    Raises:
        InvalidArgument: the address is none.
        NotFound: this server has no defence.
    """
    wrong = mistakes.address(ip)
    if wrong is not None:
        raise InvalidArgument(f"ip: {wrong}")
    if services.defence is None:
        raise NotFound("this server has no defence")
    return (await services.defence.explain(plain_address(ip), protocol)).to_document()


async def explained(
    services: Services, question: Question, by: Actor, *, secret: str | None = None
) -> dict[str, Any]:
    """Every rule that is asked, in order, and the one that decides.

    Args:
        services: of this server.
        question: that is asked.
        by: who asks.
        secret: password for the hooks of the login, which are asked then; None only names them.

    Raises:
        InvalidArgument: a part of the question cannot be.
        NotFound: there is no such account, or `by` may not see it.
    """
    for field, wrong in (
        ("ip", mistakes.address(question.ip)),
        ("protocol", mistakes.door(question.protocol)),
        ("method", None if question.method is None else mistakes.method(question.method)),
    ):
        if wrong is not None:
            raise InvalidArgument(f"{field}: {wrong}")
    name = fold_name(question.user, services.rules)
    if not can_be_stored(name):
        raise NotFound("no such user")
    await services.sessions.tracker.settle(name)
    account = await services.provider.user(name)
    if account is not None:
        by.require_reach(account)
    hooks: HookAnswers | None = None
    if services.hooks is not None and services.loaded.settings.has_hooks:
        protocol, _ = mistakes.protocol_of(question.protocol)
        peer = Peer("", protocol, question.ip)
        method = question.method or "password"
        hooks = await services.hooks(services.loaded, name, account, peer=peer, method=method, secret=secret)
        account = hooks.account
    if account is None:
        raise NotFound(f"no such user{hooks.unknown if hooks is not None else ''}")
    by.require_reach(account)
    resolved = await services.administration.effective.resolved(account)
    account = resolved.account
    await load_beside("tidegate.policy.explain")
    from tidegate.policy.explain import Usage, parse_operation, parse_program
    from tidegate.policy.explain import explain as ask

    protocol, encrypted = mistakes.protocol_of(question.protocol)
    locks: list[tuple[Step, str]] = []
    if services.sessions.locks.active and parse_program(question.op) is None:
        intent = parse_operation(question.op, is_dir=bool(question.is_dir))
        if question.exists is not None and intent in (Intent.UPLOAD, Intent.OVERWRITE):
            intent = Intent.OVERWRITE if question.exists else Intent.UPLOAD
        target = None if question.target is None else VPath.parse(question.target)
        locks = await lock_steps(services.sessions, account, intent, VPath.parse(question.path), target)
    answer = ask(
        account,
        ip=question.ip,
        location=services.locate(question.ip),
        protocol=protocol,
        encrypted=encrypted,
        op=question.op,
        path=question.path,
        target=question.target,
        method=question.method,
        is_dir=question.is_dir,
        exists=question.exists,
        target_exists=question.target_exists,
        size=question.size,
        replaced=question.replaced,
        rename_onto=services.loaded.settings.sftpd.strictest_rename_onto,
        names=services.loaded.settings.common.file_patterns.entry,
        commands=services.loaded.settings.sftpd.enabled_ssh_commands,
        usage=Usage(
            sessions=services.registry.count(name),
            tracked=bool(services.loaded.settings.data_provider.track_quota),
        ),
        now_ms=time.time_ns() // 1_000_000,
        locks=locks,
    )
    more: dict[str, object] = {}
    if resolved.origins:
        more["inherited"] = {field: list(names) for field, names in resolved.origins.items()}
    if hooks is not None:
        more["hooks"] = hooks.documents
    return {**answer.to_document(), **more}
