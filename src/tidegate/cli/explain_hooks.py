# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate explain`` about hooks: which would be asked, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.cli.explain import ExplainFlags
    from tidegate.config.load import Loaded
    from tidegate.hooks.rehearsing import Asked
    from tidegate.model import Account


@dataclass(frozen=True, slots=True)
class HookAnswers:
    """The hooks of a login.

    Attributes:
        asked: in their order.
        account: the account after them, None if nobody knows the user.
    """

    asked: list[Asked]
    account: Account | None

    @property
    def refused(self) -> bool:
        """True if one of them refuses."""
        return any(one.refuses for one in self.asked)

    @property
    def text(self) -> str:
        """A line for each."""
        from tidegate.policy.explain import safe

        return "".join(
            f"hook {one.hook.name}: {one.hook.shown}{': ' if one.answer else ''}{safe(one.answer)}\n"
            for one in self.asked
        )

    @property
    def documents(self) -> list[dict[str, object]]:
        """The same for ``--json``."""
        return [
            {
                "hook": one.hook.name,
                "key": one.hook.key,
                "target": one.hook.shown,
                "answer": one.answer,
                "refuses": one.refuses,
            }
            for one in self.asked
        ]

    @property
    def unknown(self) -> str:
        """The end of the message that there is no such user."""
        if any(one.answer for one in self.asked):
            return "; " + "; ".join(f"{one.hook.key} {one.answer}" for one in self.asked if one.answer)
        asked = [one.hook.key for one in self.asked if one.hook.name in ("external_auth", "pre_login")]
        return f"; {asked[0]} may know them: --ask asks it" if asked else ""


async def hooks_of_login(
    given: ExplainFlags, loaded: Loaded, username: str, account: Account | None
) -> HookAnswers:
    """The hooks of the login that is explained; they are asked if the flags say so."""
    import sys

    from tidegate.hooks.rehearsing import Asked, ask_hooks, hooks_of
    from tidegate.model import Peer, Protocol
    from tidegate.server.hooks import create_asker, hook_settings
    from tidegate.server.wiring import record_rules

    peer = Peer("", Protocol(given.protocol.upper()), given.ip)
    method = given.method or ("publickey" if given.certificate is not None else "password")
    hooks = hooks_of(hook_settings(loaded), account, method, peer.protocol.family)
    if not given.ask:
        return HookAnswers([Asked(hook) for hook in hooks], account)
    secret = sys.stdin.readline().rstrip("\r\n") if given.password_stdin else ""
    asker = create_asker(loaded)
    try:
        asked = await ask_hooks(
            hooks, asker, record_rules(loaded), peer=peer, username=username, account=account, secret=secret
        )
    finally:
        await asker.close()
    found = [one.account for one in asked if one.account is not None]
    return HookAnswers(asked, found[-1] if found else account)
