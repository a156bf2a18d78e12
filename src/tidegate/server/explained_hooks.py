# SPDX-License-Identifier: Apache-2.0
"""Hooks of a login that is explained, by the command and over REST: named, or asked."""

from __future__ import annotations

from tidegate.config.load import Loaded
from tidegate.hooks.rehearsing import Asked, HookAnswers, ask_hooks, hooks_of
from tidegate.model import Account, Peer
from tidegate.server.hooks import create_asker, hook_settings
from tidegate.server.wiring import record_rules


async def explain_hooks(
    loaded: Loaded, username: str, account: Account | None, *, peer: Peer, method: str, secret: str | None
) -> HookAnswers:
    """The hooks that a login meets, in their order; nothing that they answer is stored.

    Args:
        loaded: the configuration.
        username: that is typed.
        account: the stored account, None for a user who is not known.
        peer: where the login comes from.
        method: of the login.
        secret: the password to ask the hooks with; None asks nobody.
    """
    hooks = hooks_of(hook_settings(loaded), account, method, peer.protocol.family)
    if secret is None:
        return HookAnswers([Asked(hook) for hook in hooks], account)
    asker = create_asker(loaded)
    try:
        asked = await ask_hooks(
            hooks, asker, record_rules(loaded), peer=peer, username=username, account=account, secret=secret
        )
    finally:
        await asker.close()
    found = [one.account for one in asked if one.account is not None]
    return HookAnswers(asked, found[-1] if found else account)
