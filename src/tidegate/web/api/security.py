# SPDX-License-Identifier: Apache-2.0
"""Tokens of the API: signed, short-lived, bound to an address, and revocable.

A token names an administrator (or, of another instance, a user) and carries a mark of everything that
decides what they may do. A change of any of that (password, permissions, allow list, status), made here or
by another process, makes the mark wrong and the token void. Logging out and an update over the API are
remembered besides, as rows of the data provider: every server with the same signing key knows them,
`ROWS_SECONDS` later at most.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import jwt

from tidegate.errors import LoginRefused, TidegateError
from tidegate.model import Account, Admin
from tidegate.store.contract import EVERYTHING, Provider

KEY_BYTES: Final = 32
MAX_TOKEN_CHARS: Final = 4096
"""Longest text looked at as a token."""
MAX_REVOKED: Final = 4000
"""Revocations remembered; beyond it every token that was given so far is void."""
MAX_LIFETIME_SECONDS: Final = 720 * 60
"""Longest life that the configuration allows."""
ROWS_SECONDS: Final = 1.0
"""Seconds that the provider's answer about one token is used; a server's own revocations hold at once."""
MAX_CACHED: Final = 1000
"""Tokens whose answer is remembered for that long."""

_SETTING: Final = "revoked_tokens"
"""The setting of versions before schema 5 that kept revocations."""
_ALGORITHM: Final = "HS256"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a valid token.

    Attributes:
        username: the administrator or user.
        token_id: unique.
        expires: Unix seconds.
        mark: see `Tokens.holds`.
        bare: its holder had a second factor when it was given, and did not prove it.
    """

    username: str
    token_id: str
    expires: int
    mark: str
    bare: bool = False


def derive_key(passphrase: str) -> bytes:
    """The signing key of a passphrase; slow on purpose (about 50 ms), to be called off the loop."""
    salt = b"tidegate token signing v1"
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**14, r=8, p=1, dklen=KEY_BYTES)


class Tokens:
    """Issues, reads and revokes tokens.

    Args:
        key: signs; None makes a random one, which no restart survives.
        lifetime_seconds: of a token.
        bind_address: True if a token is good only from the address it was given to.
        provider: keeps revocations for all servers; used only with a given key.
        kind: of those who get tokens; a token of one kind is none of the other.
        clock: Unix seconds.
        monotonic: seconds, for what is remembered of the provider.
    """

    def __init__(
        self,
        key: bytes | None,
        *,
        lifetime_seconds: int,
        bind_address: bool,
        provider: Provider,
        kind: Literal["admin", "user"] = "admin",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._kind = kind
        self._audience = f"tidegate-{kind}"
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._lasting = key is not None
        self._lifetime = lifetime_seconds
        self._bind = bind_address
        self._provider = provider
        self._clock = clock
        self._void: dict[str, tuple[int, int]] = {}
        """Subjects revoked here: since when, and until when that matters. Unix ms."""
        self._rows: OrderedDict[str, tuple[float, dict[str, int]]] = OrderedDict()
        """Token id: until when (monotonic) the provider's rows about it are used, and the rows."""
        self._known = not self._lasting
        self._lock = asyncio.Lock()

    def reconfigure(self, key: bytes | None, *, lifetime_seconds: int, bind_address: bool) -> None:
        """Take other settings; another key voids every token, no key keeps a random one."""
        self._lifetime, self._bind = lifetime_seconds, bind_address
        if key is not None and key != self._key:
            self._key, self._lasting, self._known = key, True, False
        elif key is None and self._lasting:
            self._key, self._lasting, self._known = secrets.token_bytes(KEY_BYTES), False, True

    def issue(self, holder: Admin | Account, ip: str, *, bare: bool = False) -> tuple[str, str]:
        """A token for somebody, and when it expires (RFC 3339); `bare` as in `Claims`."""
        now_ms = self._now_ms()
        expires = now_ms // 1000 + self._lifetime
        claims: dict[str, Any] = {
            "aud": self._audience,
            "sub": holder.username,
            "jti": secrets.token_hex(12),
            "iat": now_ms // 1000,
            "exp": expires,
            "at": max(now_ms, self._revoked_here(self._of(holder.username)) + 1),
            "mark": self._mark(holder),
        }
        if bare:
            claims["bare"] = True
        if self._bind:
            claims["ip"] = ip
        text = jwt.encode(claims, self._key, _ALGORITHM)
        return text, datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def read(self, text: str, ip: str) -> Claims:
        """The claims of a token, if it is ours, alive, not revoked and used from the right address.

        Raises:
            LoginRefused: it is not (reasons ``token``, ``token_expired``, ``token_revoked``,
                ``token_address``).
            ProviderUnavailable: revocations cannot be read now.
        """
        if len(text) > MAX_TOKEN_CHARS:
            raise LoginRefused("token")
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                options={"require": ["exp", "iat", "sub", "jti", "aud"]},
            )
            found = Claims(
                str(claims["sub"]),
                str(claims["jti"]),
                int(claims["exp"]),
                str(claims["mark"]),
                bool(claims.get("bare")),
            )
            issued = int(claims["at"])
        except jwt.ExpiredSignatureError:
            raise LoginRefused("token_expired") from None
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise LoginRefused("token") from None
        token, holder = _of_token(found.token_id), self._of(found.username)
        rows = await self._rows_of(found.token_id, (token, holder, EVERYTHING))
        revoked = max(self._revoked_here(holder), rows.get(holder, 0), rows.get(EVERYTHING, 0))
        if token in self._void or token in rows or issued <= revoked:
            raise LoginRefused("token_revoked", username=found.username)
        if self._bind and claims.get("ip") != ip:
            raise LoginRefused("token_address", username=found.username, rule="httpd.token_validation")
        return found

    def holds(self, claims: Claims, holder: Admin | Account) -> bool:
        """True if its holder is still what they were when the token was given."""
        return hmac.compare_digest(claims.mark, self._mark(holder))

    async def revoke(self, claims: Claims) -> None:
        """Void one token.

        Raises:
            ProviderError: it is void here, but not at other servers and after a restart.
        """
        await self._remember(_of_token(claims.token_id), claims.expires * 1000)

    async def revoke_all(self, username: str) -> None:
        """Void every token that somebody has.

        Raises:
            ProviderError: they are void here, but not at other servers and after a restart.
        """
        await self._remember(self._of(username), self._now_ms() + MAX_LIFETIME_SECONDS * 1000)

    async def catch_up(self, username: str) -> None:
        """Before `issue`: learn of revocations by other servers, whose clocks may be ahead.

        Raises:
            ProviderUnavailable: revocations cannot be read now.
        """
        if self._lasting:
            rows = await self._provider.revocations((self._of(username), EVERYTHING))
            until = self._now_ms() + MAX_LIFETIME_SECONDS * 1000
            self._void |= {subject: (at, until) for subject, at in rows.items()}

    # -- inside ------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _of(self, username: str) -> str:
        digest = hashlib.blake2b(username.encode(), digest_size=16).hexdigest()
        return f"{self._kind}:{digest}"

    def _mark(self, holder: Admin | Account) -> str:
        what: list[object] = [
            holder.id,
            holder.username,
            holder.created_at,
            holder.status,
            holder.password,
        ]
        if isinstance(holder, Admin):
            filters = holder.filters
            what += [sorted(holder.permissions), filters.allow_list, filters.require_password_change]
        return hmac.new(self._key, json.dumps(what).encode(), hashlib.sha256).hexdigest()[:32]

    def _revoked_here(self, subject: str) -> int:
        """Since when tokens of a subject are void as far as this process knows, 0 for never."""
        return max(self._void.get(one, (0, 0))[0] for one in (subject, EVERYTHING))

    async def _rows_of(self, token_id: str, subjects: Sequence[str]) -> dict[str, int]:
        """The provider's answer about a token, at most a moment old."""
        if not self._lasting:
            return {}
        await self._take_over()
        now = self._monotonic()
        until, rows = self._rows.get(token_id, (now, {}))
        if until <= now:
            rows = await self._provider.revocations(subjects)
            self._rows[token_id] = now + ROWS_SECONDS, rows
            self._rows.move_to_end(token_id)
            if len(self._rows) > MAX_CACHED:
                self._rows.popitem(last=False)
        return rows

    async def _take_over(self) -> None:
        """Make rows of what an older version has left, once."""
        if self._known:
            return
        async with self._lock:
            if self._known:
                return
            text = await self._provider.setting(_SETTING)
            if text is not None:
                for subject, times in self._former(text).items():
                    await self._store(subject, times)
                await self._provider.set_setting(_SETTING, None)
            self._known = True

    def _former(self, text: str) -> dict[str, tuple[int, int]]:
        now_ms, longest = self._now_ms(), MAX_LIFETIME_SECONDS * 1000
        try:
            stored = json.loads(text)
            void = {str(name): int(at) for name, at in stored.get("void", {}).items()}
            everything = int(stored.get("all", 0))
        except (ValueError, TypeError, AttributeError):
            # Nobody else writes it; what cannot be read might have named any token.
            _log.error("the list of revoked tokens is unreadable; every token given so far is void")
            return {EVERYTHING: (now_ms, now_ms + longest)}
        found = {
            (self._of(name[1:]), (at, at + longest)) if name[:1] == "=" else (_of_token(name), (now_ms, at))
            for name, at in void.items()
        }
        return dict(found) | ({EVERYTHING: (everything, everything + longest)} if everything else {})

    async def _store(self, subject: str, times: tuple[int, int]) -> None:
        await self._provider.revoke(subject, at_ms=times[0], expires_ms=times[1], limit=MAX_REVOKED)

    async def _remember(self, subject: str, expires_ms: int) -> None:
        now_ms = self._now_ms()
        self._void[subject] = now_ms, expires_ms
        for one in [one for one, (_, expires) in self._void.items() if expires < now_ms]:
            del self._void[one]  # such tokens have expired
        if len(self._void) > MAX_REVOKED:
            self._void = {EVERYTHING: (now_ms, now_ms + MAX_LIFETIME_SECONDS * 1000)}
        if not self._lasting:
            return
        try:
            await self._store(subject, (now_ms, expires_ms))
        except TidegateError as error:
            _log.error(
                "a revoked token was not stored and may be good elsewhere or after a restart: %s", error
            )
            raise


def _of_token(token_id: str) -> str:
    return f"token:{token_id}"
