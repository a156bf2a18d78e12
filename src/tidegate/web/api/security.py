# SPDX-License-Identifier: Apache-2.0
"""Tokens of the API: signed, short-lived, bound to an address, and revocable.

A token names an administrator and carries a mark of everything that decides what they may do. A change of any
of that (password, permissions, allow list, status), made here or by another process, makes the mark wrong and
the token void; logging out and an update over the API are remembered besides.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from tidegate.errors import LoginRefused, TidegateError
from tidegate.model import Admin
from tidegate.store.contract import Provider

KEY_BYTES: Final = 32
MAX_TOKEN_CHARS: Final = 4096
"""Longest text looked at as a token."""
MAX_REVOKED: Final = 4000
"""Revocations remembered; beyond it every token that was given so far is void."""
MAX_LIFETIME_SECONDS: Final = 720 * 60
"""Longest life that the configuration allows."""

_SETTING: Final = "revoked_tokens"
_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "tidegate-admin"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says.

    Attributes:
        username: the administrator.
        token_id: unique.
        expires: Unix seconds.
        mark: see `Tokens.holds`.
    """

    username: str
    token_id: str
    expires: int
    mark: str


def derive_key(passphrase: str) -> bytes:
    """The signing key of a passphrase; slow on purpose (about 50 ms), to be called off the loop."""
    salt = b"tidegate token signing v1"
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**14, r=8, p=1, dklen=KEY_BYTES)


class Tokens:
    """Issues, reads and revokes tokens.

    Args:
        key: signs; None makes a random one, which no restart survives.
        lifetime_seconds: of a token.
        bind_address: whether a token is good only from the address it was given to.
        provider: remembers revocations over a restart; used only with a given key.
        clock: Unix seconds.
    """

    def __init__(
        self,
        key: bytes | None,
        *,
        lifetime_seconds: int,
        bind_address: bool,
        provider: Provider,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._lasting = key is not None
        self._lifetime = lifetime_seconds
        self._bind = bind_address
        self._provider = provider
        self._clock = clock
        self._void: dict[str, int] = {}
        """Token id: when it expires. ``=name``: when all of an administrator were revoked. Unix ms."""
        self._void_all = 0
        self._known = not self._lasting
        self._lock = asyncio.Lock()

    def reconfigure(self, key: bytes | None, *, lifetime_seconds: int, bind_address: bool) -> None:
        """Take other settings; another key voids every token, no key keeps a random one."""
        self._lifetime, self._bind = lifetime_seconds, bind_address
        if key is not None and key != self._key:
            self._key, self._lasting, self._known = key, True, False
        elif key is None and self._lasting:
            self._key, self._lasting, self._known = secrets.token_bytes(KEY_BYTES), False, True

    def issue(self, admin: Admin, ip: str) -> tuple[str, str]:
        """A token for an administrator, and when it expires (RFC 3339)."""
        now_ms = self._now_ms()
        expires = now_ms // 1000 + self._lifetime
        claims: dict[str, Any] = {
            "aud": _AUDIENCE,
            "sub": admin.username,
            "jti": secrets.token_hex(12),
            "iat": now_ms // 1000,
            "exp": expires,
            "at": max(now_ms, self._void.get(f"={admin.username}", 0) + 1, self._void_all + 1),
            "mark": self._mark(admin),
        }
        if self._bind:
            claims["ip"] = ip
        text = jwt.encode(claims, self._key, _ALGORITHM)
        return text, datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def read(self, text: str, ip: str) -> Claims:
        """What a token says, if it is ours, alive, not revoked and used from the right address.

        Raises:
            LoginRefused: it is not (reasons ``token``, ``token_expired``, ``token_revoked``,
                ``token_address``).
            ProviderUnavailable: revocations cannot be read yet.
        """
        await self._learn()
        if len(text) > MAX_TOKEN_CHARS:
            raise LoginRefused("token")
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={"require": ["exp", "iat", "sub", "jti", "aud"]},
            )
            found = Claims(str(claims["sub"]), str(claims["jti"]), int(claims["exp"]), str(claims["mark"]))
            issued = int(claims["at"])
        except jwt.ExpiredSignatureError:
            raise LoginRefused("token_expired") from None
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise LoginRefused("token") from None
        revoked = max(self._void_all, self._void.get(f"={found.username}", 0))
        if found.token_id in self._void or issued <= revoked:
            raise LoginRefused("token_revoked", username=found.username)
        if self._bind and claims.get("ip") != ip:
            raise LoginRefused("token_address", username=found.username, rule="httpd.token_validation")
        return found

    def holds(self, claims: Claims, admin: Admin) -> bool:
        """Whether the administrator is still what they were when the token was given."""
        return hmac.compare_digest(claims.mark, self._mark(admin))

    async def revoke(self, claims: Claims) -> None:
        """Void one token.

        Raises:
            ProviderError: it is void now, but may come back with a restart.
        """
        await self._remember(claims.token_id, claims.expires * 1000)

    async def revoke_all(self, username: str) -> None:
        """Void every token that an administrator has.

        Raises:
            ProviderError: they are void now, but may come back with a restart.
        """
        await self._remember(f"={username}", self._now_ms())

    # -- inside ------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _mark(self, admin: Admin) -> str:
        what = [
            admin.id,
            admin.username,
            admin.created_at,
            admin.status,
            admin.password,
            sorted(admin.permissions),
            admin.filters.allow_list,
            admin.filters.require_password_change,
        ]
        return hmac.new(self._key, json.dumps(what).encode(), hashlib.sha256).hexdigest()[:32]

    async def _learn(self) -> None:
        """Read once what was revoked before this start."""
        if self._known:
            return
        async with self._lock:
            if self._known:
                return
            text = await self._provider.setting(_SETTING)
            try:
                stored = json.loads(text) if text else {}
                void = {str(name): int(at) for name, at in stored.get("void", {}).items()}
                everything = int(stored.get("all", 0))
            except (ValueError, TypeError, AttributeError):
                # Nobody else writes it; what cannot be read might have named any token.
                _log.error("the list of revoked tokens is unreadable; every token given so far is void")
                void, everything = {}, self._now_ms()
            self._void = {**void, **self._void}
            self._void_all = max(self._void_all, everything)
            self._known = True

    async def _remember(self, name: str, at_ms: int) -> None:
        now_ms = self._now_ms()
        oldest = now_ms - MAX_LIFETIME_SECONDS * 1000
        self._void[name] = at_ms
        for key in [k for k, at in self._void.items() if at < (oldest if k[0] == "=" else now_ms)]:
            del self._void[key]  # such tokens have expired
        if len(self._void) > MAX_REVOKED:
            self._void, self._void_all = {}, now_ms
        if not self._lasting:
            return
        await self._learn()
        try:
            async with self._lock:
                await self._provider.set_setting(
                    _SETTING, json.dumps({"void": self._void, "all": self._void_all})
                )
        except TidegateError as error:
            _log.error("a revoked token was not stored and may be good again after a restart: %s", error)
            raise
