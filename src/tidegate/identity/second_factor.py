# SPDX-License-Identifier: Apache-2.0
"""Checks one-time codes and recovery codes. Each is good once, for all servers of a data provider.

A code is claimed in the data provider before it counts; a recovery code is marked in its record. Wrong codes
count in `identity.throttle` by name, from wherever they come: whoever gets as far knows the password.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tidegate.accounts.versions import version_of
from tidegate.errors import LoginRefused, Outdated, ProviderError, ProviderUnavailable, TidegateError
from tidegate.identity import totp
from tidegate.identity.throttle import LoginThrottle
from tidegate.model import LOCAL_DISK, Account, Admin
from tidegate.model.sealing import SealsSecrets, SecretLocked, SecretPlace, open_secrets
from tidegate.model.secrets import PLAIN
from tidegate.policy.second_factor import (
    RECOVERY,
    TOTP,
    clean_code,
    decode_secret,
    recovery_code_fits,
    recovery_codes_of,
    totp_of,
)
from tidegate.store.contract import Provider

MAX_TRIES: Final = 5
"""Attempts at marking a recovery code, while somebody changes the record."""
CLAIM_SECONDS: Final = totp.PERIOD_SECONDS * (2 * totp.WINDOW + 2)
"""Seconds that a claimed code is remembered: longer than any window in which it would be taken."""
MAX_CLAIMED: Final = 10_000
"""Claims of this process, where the data provider cannot keep them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TotpConfig:
    """One entry of `mfa.totp`.

    Attributes:
        name: by which records refer to it.
        issuer: shown by authenticator programs.
        algorithm: sha1, sha256 or sha512.
    """

    name: str
    issuer: str
    algorithm: str


class SecondFactors:
    """Checks codes of accounts and administrators.

    Args:
        provider: where records are, and claims.
        seals: opens secrets.
        configs: `mfa.totp` by name.
        throttle: counts wrong codes.
        clock: Unix seconds.
        monotonic: seconds, for the throttle.
    """

    def __init__(
        self,
        provider: Provider,
        seals: SealsSecrets,
        configs: Mapping[str, TotpConfig],
        *,
        throttle: LoginThrottle,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._seals = seals
        self._configs = dict(configs)
        self._throttle = throttle
        self._clock = clock
        self._monotonic = monotonic
        self._claimed: OrderedDict[str, int] = OrderedDict()

    async def require(self, record: Account | Admin, given: str) -> None:
        """Return if a code of the record is right, and take it.

        Raises:
            LoginRefused: it is wrong or was used before (``bad_code``), too many were wrong
                (``throttled``), or the secret cannot be opened (``provider_error``).
            ProviderUnavailable: it cannot be claimed now.
        """
        kind: Literal["user", "admin"] = "user" if isinstance(record, Account) else "admin"
        subject = f"{kind}:{record.username}"
        if self._throttle.codes_refused(subject, self._monotonic()):
            raise LoginRefused("throttled", rule="second_factor", username=record.username)
        # Counted before it is looked at: of many at the same moment no more are looked at than of one by one.
        self._throttle.code_tried(subject, self._monotonic())
        code = clean_code(given)
        try:
            if totp.is_code(code):
                right = totp_of(record.filters).enabled and await self._is_right(record, kind, code)
            else:
                right = bool(code) and await self._takes_recovery_code(record, code)
        except TidegateError:
            self._throttle.code_forgiven(subject, self._monotonic())  # it was no guess
            raise
        if not right:
            raise LoginRefused("bad_code", rule="second_factor", username=record.username)
        self._throttle.code_forgiven(subject, self._monotonic())

    # -- one-time codes ------------------------------------------------------------------------------------

    async def _is_right(self, record: Account | Admin, kind: Literal["user", "admin"], code: str) -> bool:
        config = self._configs.get(totp_of(record.filters).config_name)
        if config is None:
            name = totp_of(record.filters).config_name
            _log.error("%s %r: mfa.totp has no entry %r: its codes are refused", kind, record.username, name)
            raise LoginRefused("provider_error", username=record.username)
        try:
            secret = await asyncio.to_thread(self._secret, record, kind)
        except ValueError as error:
            _log.error("%s %r: filters.totp_config.secret %s", kind, record.username, error)
            raise LoginRefused("provider_error", username=record.username) from None
        step = totp.matching_step(secret, code, self._clock(), config.algorithm)
        return step is not None and await self._claim(f"{kind}:{record.username}", step)

    def _secret(self, record: Account | Admin, kind: Literal["user", "admin"]) -> bytes:
        """The bytes of the secret. May block the first time, for the master key.

        Raises:
            ValueError: it cannot be opened; the text holds nothing of it.
        """
        held = record.filters.extra.get(TOTP)
        place = SecretPlace(kind, record.username, f"filters.{TOTP}")
        try:
            opened = open_secrets(held, self._seals, place) if isinstance(held, dict) else {}
        except SecretLocked as error:
            raise ValueError(str(error)) from None
        value = opened.get("secret")
        if isinstance(value, dict):
            if value.get("status") not in (PLAIN, "", None):
                how = str(value.get("status"))[:40]
                raise ValueError(f"is encrypted by {how!r}, which cannot be opened here")
            value = value.get("payload")
        return decode_secret(value if isinstance(value, str) else "")

    async def _claim(self, subject: str, step: int) -> bool:
        """Take a code; False if it, or a later one, was used before."""
        digest = hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
        at_ms = step * totp.PERIOD_SECONDS * 1000
        expires_ms = int((self._clock() + CLAIM_SECONDS) * 1000)
        try:
            return await self._provider.claim(f"code:{digest}", at_ms=at_ms, expires_ms=expires_ms)
        except ProviderUnavailable:
            raise
        except ProviderError:
            # Accounts that are read from somebody else's database: this process remembers by itself.
            if self._claimed.get(digest, -1) >= at_ms:
                return False
            self._claimed[digest] = at_ms
            self._claimed.move_to_end(digest)
            if len(self._claimed) > MAX_CLAIMED:
                self._claimed.popitem(last=False)
            return True

    # -- recovery codes --------------------------------------------------------------------------------------

    async def _takes_recovery_code(self, record: Account | Admin, code: str) -> bool:
        """Mark a recovery code as used; False if there is none like it that is not."""
        for _ in range(MAX_TRIES):
            codes = recovery_codes_of(record.filters)
            hashes = await asyncio.to_thread(self._hashes, record, codes)
            fitting = [
                one
                for one, stored in zip(codes, hashes, strict=True)
                if not one.get("used") and recovery_code_fits(code, stored)
            ]
            if not fitting:
                return False
            fitting[0]["used"] = True
            left = sum(not one.get("used") for one in codes)
            try:
                await self._store_codes(record, codes)
            except Outdated:
                fresh = await self._again(record)
                if fresh is None:
                    return False
                record = fresh
                continue
            _log.warning("%r logged in by a recovery code; %d are left", record.username, left)
            return True
        return False

    def _hashes(self, record: Account | Admin, codes: list[dict[str, Any]]) -> list[str]:
        """The stored hash of each code; empty for one that cannot be opened. May block the first time."""
        kind = "user" if isinstance(record, Account) else "admin"
        place = SecretPlace(kind, record.username, "filters")
        found = []
        for one in codes:
            try:
                (opened,) = open_secrets({RECOVERY: [one]}, self._seals, place)[RECOVERY]
            except SecretLocked as error:
                _log.error("%s %r: %s", kind, record.username, error)
                opened = {}
            value = opened.get("secret")
            found.append(value if isinstance(value, str) else "")
        return found

    async def _store_codes(self, record: Account | Admin, codes: list[dict[str, object]]) -> None:
        before, codes_before = version_of(record), record.filters.extra.get(RECOVERY)

        def unchanged(stored: Account | Admin) -> None:
            # The whole record is written: what somebody else changed meanwhile would be undone.
            if version_of(stored) != before or stored.filters.extra.get(RECOVERY) != codes_before:
                raise Outdated(record.username)

        extra = {**record.filters.extra, RECOVERY: codes}
        if isinstance(record, Admin):
            filters = replace(record.filters, extra=extra)
            await self._provider.update_admin(replace(record, filters=filters), guard=unchanged)
            return
        if not record.id:
            raise ProviderError("recovery codes of an account that is not stored cannot be marked")
        mounts = tuple(
            replace(mount, mapped_path="", filesystem=LOCAL_DISK) for mount in record.virtual_folders
        )
        changed = replace(record, filters=replace(record.filters, extra=extra), virtual_folders=mounts)
        await self._provider.update_user(changed, guard=unchanged)

    async def _again(self, record: Account | Admin) -> Account | Admin | None:
        if isinstance(record, Admin):
            return await self._provider.admin(record.username)
        return await self._provider.user(record.username)
