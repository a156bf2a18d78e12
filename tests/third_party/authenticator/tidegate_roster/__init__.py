# SPDX-License-Identifier: Apache-2.0
"""Accounts of a JSON file: a password, then a one-time code (RFC 6238) where the file has a secret for it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.abc import Challenge, LoginAttempt, NextStep, Prompt
from tidegate.errors import LoginRefused, OperatorError, ProviderUnavailable
from tidegate.model import Account, Peer

CODE = Challenge((Prompt("One-time code: "),), instructions="Look at your telephone.")


class Roster:
    """Options: ``file``, a JSON object of users with password, home, secret (base32) and quota."""

    def __init__(self, options: dict[str, Any]) -> None:
        if "file" not in options:
            raise OperatorError("the roster needs the option file")
        self._file = Path(options["file"])

    async def open(self) -> None:
        await self._read()

    async def close(self) -> None:
        pass

    async def find(self, username: str) -> Account | None:
        entry = (await self._read()).get(username)
        return None if entry is None else account_of(username, entry)

    async def verify(self, attempt: LoginAttempt) -> Account | NextStep | None:
        entry = (await self._read()).get(attempt.username)
        credential = attempt.credential
        if not attempt.done:
            if credential.kind not in ("password", "keyboard-interactive"):
                if entry is None:
                    return None
                raise LoginRefused("method")
            expected = entry["password"] if entry is not None else "nobody"
            right = hmac.compare_digest(expected.encode(), credential.secret.encode())
            if entry is None:
                return None
            if not right:
                raise LoginRefused("bad_credential")
            if "secret" in entry:
                return NextStep(("keyboard-interactive",), CODE, state=entry["secret"])
            return account_of(attempt.username, entry)
        if entry is None or not hmac.compare_digest(code(str(attempt.state)), credential.answers[0]):
            raise LoginRefused("bad_code")
        return account_of(attempt.username, entry)

    async def pre_login(self, account: Account, peer: Peer, method: str) -> Account:
        """Nobody called Mallory comes in, and who has a curfew sees nothing but one directory."""
        if account.description == "mallory":
            raise LoginRefused("curfew")
        if account.description == "read only":
            return replace(account, permissions={"/": ("list", "download")})
        return account

    async def _read(self) -> dict[str, Any]:
        try:
            text = await asyncio.to_thread(self._file.read_text)
        except OSError as error:
            raise ProviderUnavailable(f"{self._file}: {error.strerror}") from None
        found: dict[str, Any] = json.loads(text)
        return found


def account_of(name: str, entry: dict[str, Any]) -> Account:
    return Account(
        username=name,
        status=entry.get("status", 1),
        home_dir=entry["home"],
        quota_size=entry.get("quota", 0),
        description=entry.get("description", ""),
        permissions={"/": ("*",)},
    )


def code(secret: str, now: float | None = None) -> str:
    """The six digits of this half minute."""
    counter = int((time.time() if now is None else now) // 30).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, hashlib.sha1)
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"
