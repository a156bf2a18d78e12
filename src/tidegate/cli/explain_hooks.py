# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate explain`` about hooks: which would be asked, and what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.cli.explain import ExplainFlags
    from tidegate.config.load import Loaded
    from tidegate.hooks.rehearsing import HookAnswers
    from tidegate.model import Account


async def hooks_of_login(
    given: ExplainFlags, loaded: Loaded, username: str, account: Account | None
) -> HookAnswers:
    """The hooks of the login that is explained; they are asked if the flags say so."""
    import sys

    from tidegate.model import Peer, Protocol
    from tidegate.server.explained_hooks import explain_hooks

    method = given.method or ("publickey" if given.certificate is not None else "password")
    secret = sys.stdin.readline().rstrip("\r\n") if given.ask and given.password_stdin else ""
    peer = Peer("", Protocol(given.protocol.upper()), given.ip)
    return await explain_hooks(
        loaded, username, account, peer=peer, method=method, secret=secret if given.ask else None
    )
