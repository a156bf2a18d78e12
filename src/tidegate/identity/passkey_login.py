# SPDX-License-Identifier: Apache-2.0
"""Signing in by passkey: after the password, or instead of it. Loaded when needed.

Rules and throttles are those of passwords and codes. The counter of an authenticator is compared with the
stored one and stored in one step, so of two copies only one gets in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tidegate.accounts.versions import version_of
from tidegate.errors import LoginRefused, OperatorError, Outdated, ProviderUnavailable, TidegateError
from tidegate.identity.admins import Throttled, require_welcome
from tidegate.identity.passkeys import Assertion, BadPasskey, asserted, named
from tidegate.identity.throttle import LoginThrottle
from tidegate.model import Admin
from tidegate.policy.passkeys import Passkey, RelyingParty, document_of, passkeys_of
from tidegate.policy.second_factor import PASSKEYS
from tidegate.store.contract import Provider

MAX_TRIES: Final = 5
"""Attempts at storing a use, while somebody changes the record."""
TOUCH_MS: Final = 600_000
"""A use without a counter is written at most this often, in milliseconds."""
PAGE: Final = 100
"""Administrators that are read at a time to find the owner of a passkey."""
MAX_LOOKED_AT: Final = 10_000
GUESSES: Final = ("bad_passkey", "passkey_counter")
"""Reasons that count for the throttle of second factors."""

_log = logging.getLogger(__name__)


class PasskeyLogin:
    """Checks passkeys of administrators.

    Args:
        provider: where administrators are.
        throttle: shared by every way of logging in.
        clock: Unix seconds.
        monotonic: seconds, for the throttle.
    """

    def __init__(
        self,
        provider: Provider,
        throttle: LoginThrottle,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._throttle = throttle
        self._clock = clock
        self._monotonic = monotonic

    def admit(self, ip: str) -> None:
        """Take an attempt of an address, before a challenge is issued to somebody unknown.

        Raises:
            Throttled: too many attempts by this address.
        """
        wait = self._throttle.admit(self._nobody(ip), ip, self._monotonic())
        if wait:
            raise Throttled(wait, username="")

    def offer(self, ip: str) -> bool:
        """True if an address may have a challenge that nobody asked for: no attempt, its answer is one."""
        return self._throttle.offer(ip, self._monotonic())

    async def instead(self, ip: str, party: RelyingParty, challenge: bytes, answer: str) -> Admin:
        """The administrator whom a passkey signs in by itself, after `admit`.

        Args:
            ip: where they are.
            party: the site.
            challenge: that was issued, and is taken.
            answer: of the browser.

        Raises:
            LoginRefused: ``bad_passkey``, ``passkey_counter``, ``unknown_user``, ``disabled``, ``address``,
                ``passkey_alone`` (its owner does not allow it), ``provider_unavailable``.
        """
        try:
            _, handle = named(answer)
        except BadPasskey as error:
            _log.info("passkey from %s refused: %s", ip, error)
            raise LoginRefused("bad_passkey") from None
        admin = await self._owner(handle) if handle else None
        if admin is None:
            raise LoginRefused("unknown_user")
        admin = await self._finish(ip, admin, party, challenge, answer, alone=True)
        self._throttle.succeeded(self._nobody(ip), ip, self._monotonic())
        return admin

    async def after_password(
        self, ip: str, admin: Admin, party: RelyingParty, challenge: bytes, answer: str
    ) -> None:
        """Return if a passkey finishes a login whose password was right a moment ago.

        Raises:
            LoginRefused: as `instead`, and ``throttled``.
        """
        subject = f"admin:{admin.username}"
        if self._throttle.codes_refused(subject, self._monotonic()):
            raise LoginRefused("throttled", rule="second_factor", username=admin.username)
        self._throttle.code_tried(subject, self._monotonic())
        try:
            await self._finish(ip, admin, party, challenge, answer, alone=False)
        except LoginRefused as error:
            if error.reason not in GUESSES:
                self._throttle.code_forgiven(subject, self._monotonic())
            raise
        self._throttle.code_forgiven(subject, self._monotonic())
        self._throttle.succeeded(admin.username, ip, self._monotonic())

    # -- steps -------------------------------------------------------------------------------------------

    async def _owner(self, handle: str) -> Admin | None:
        """The administrator of a handle; administrators are few, and strangers may ask seldom."""
        try:
            for offset in range(0, MAX_LOOKED_AT, PAGE):
                page = await self._provider.admins(offset=offset, limit=PAGE)
                for admin in page:
                    held = passkeys_of(admin.filters)
                    if held.keys and held.handle == handle:
                        return admin
                if len(page) < PAGE:
                    return None
        except OperatorError as error:
            _log.error("sign-in by passkey refused, %s", error)
            raise LoginRefused("provider_unavailable") from error
        return None

    async def _finish(
        self, ip: str, admin: Admin, party: RelyingParty, challenge: bytes, answer: str, *, alone: bool
    ) -> Admin:
        require_welcome(admin, ip)
        held = passkeys_of(admin.filters)
        if alone and not held.alone:
            raise LoginRefused("passkey_alone", username=admin.username, rule="filters.passkeys.alone")
        try:
            key_id, _ = named(answer)
            passkey = held.find(key_id)
            if passkey is None:
                raise BadPasskey(f"{admin.username!r} has none with this id")
            proved = asserted(party, challenge, answer, passkey, handle=held.handle, verified=alone)
        except BadPasskey as error:
            _log.info("passkey of administrator %r from %s refused: %s", admin.username, ip, error)
            raise LoginRefused("bad_passkey", username=admin.username, rule="second_factor") from None
        try:
            admin = await self._use(admin, passkey, proved)
            await self._provider.touch_admin(admin.username, int(self._clock() * 1000))
        except ProviderUnavailable as error:
            _log.error("sign-in by passkey of %r refused, %s", admin.username, error)
            raise LoginRefused("provider_unavailable", username=admin.username) from error
        return admin

    async def _use(self, admin: Admin, passkey: Passkey, proved: Assertion) -> Admin:
        """Compare the counter with the stored one, and store it.

        Raises:
            LoginRefused: ``passkey_counter``: it did not grow, so there may be a copy of the authenticator.
        """
        now_ms = int(self._clock() * 1000)
        for _ in range(MAX_TRIES):
            if (proved.sign_count or passkey.sign_count) and proved.sign_count <= passkey.sign_count:
                _log.warning(
                    "passkey %r of administrator %r refused: its counter is %d and was %d before; there may "
                    "be a copy of the authenticator. Remove the passkey if that cannot be explained",
                    passkey.name, admin.username, proved.sign_count, passkey.sign_count,
                )  # fmt: skip
                raise LoginRefused("passkey_counter", username=admin.username, rule="second_factor")
            if not proved.sign_count and now_ms - passkey.last_use_at < TOUCH_MS:
                return admin
            used = replace(passkey, sign_count=proved.sign_count, last_use_at=now_ms, synced=proved.synced)
            try:
                return await self._store(admin, used)
            except Outdated:
                fresh = await self._provider.admin(admin.username)
                found = passkeys_of(fresh.filters).find(passkey.id) if fresh is not None else None
                if fresh is None or found is None:
                    raise LoginRefused("bad_passkey", username=admin.username) from None
                admin, passkey = fresh, found
            except ProviderUnavailable:
                raise
            except TidegateError as error:
                # Records that cannot be written: the counter is compared with what they say.
                _log.warning("use of passkey %r of %r was not stored: %s", used.name, admin.username, error)
                return admin
        raise LoginRefused("busy", username=admin.username)

    async def _store(self, admin: Admin, used: Passkey) -> Admin:
        before = version_of(admin)
        held = passkeys_of(admin.filters)

        def unchanged(stored: Admin) -> None:
            # The whole record is written: what somebody else changed meanwhile would be undone.
            if version_of(stored) != before or passkeys_of(stored.filters) != held:
                raise Outdated(admin.username)

        extra = {**admin.filters.extra, PASSKEYS: document_of(held.with_use(used))}
        filters = replace(admin.filters, extra=extra)
        return await self._provider.update_admin(replace(admin, filters=filters), guard=unchanged)

    def _nobody(self, ip: str) -> str:
        """The name that attempts of an address count for: one stranger cannot use up what others have."""
        return f"passkey:{self._throttle.sources.of(ip)}"
