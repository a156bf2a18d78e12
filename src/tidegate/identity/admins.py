# SPDX-License-Identifier: Apache-2.0
"""Logging in to the management API: administrators by password, programs by API key.

As in `service`, the credential is checked before the rules, and every refusal before it costs the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from tidegate.accounts.names import DEFAULT_NAMING_RULES, login_name
from tidegate.errors import LoginRefused, OperatorError, Outdated, TidegateError
from tidegate.identity import apikeys, passwords
from tidegate.identity.hashing import PasswordChecker
from tidegate.identity.throttle import OF_THE_SERVER, LoginDelays, LoginThrottle
from tidegate.model import Account, Admin, ApiKey, Protocol
from tidegate.model.address_list import AddressList
from tidegate.policy.login import require_login
from tidegate.policy.second_factor import has_factor
from tidegate.store.contract import Provider

if TYPE_CHECKING:
    from tidegate.identity.second_factor import SecondFactors

ADMIN_SCOPE: Final = 1
USER_SCOPE: Final = 2
_NO_SECRET: Final = apikeys.hash_secret("")
_TOUCH_MS: Final = 600_000
"""`last_login` and `last_use_at` are written at most this often, in milliseconds."""

_Record = TypeVar("_Record", Admin, ApiKey, Account)
_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)


_NO_FAILURE: Final = OF_THE_SERVER | {"throttled", "code_needed"}
"""Reasons of refusals that are no wrong guess."""


@dataclass(frozen=True, slots=True)
class ApiKeyLogin:
    """The identity that a program acts as: exactly one of `admin` and `account` is set."""

    key: ApiKey
    admin: Admin | None = None
    account: Account | None = None


class Throttled(LoginRefused):
    """Too many attempts; `retry_after` seconds are left. The credential was not looked at."""

    def __init__(self, retry_after: float, *, username: str) -> None:
        super().__init__("throttled", username=username)
        self.retry_after = retry_after


class AdminLogin:
    """Says which administrator a credential belongs to.

    Args:
        checker: the one of `Identity.passwords`, so that all share one pool and one bound.
        clock: Unix seconds.
        monotonic: seconds, for the throttle.
        factors: checks codes; asked for when the first is needed.
        delays: of answers; asked for at each login.
    """

    def __init__(
        self,
        provider: Provider,
        checker: PasswordChecker,
        *,
        throttle: LoginThrottle | None = None,
        naming_rules: int = DEFAULT_NAMING_RULES,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        factors: Callable[[], SecondFactors] | None = None,
        delays: Callable[[], LoginDelays] = LoginDelays,
    ) -> None:
        self._delays = delays
        self._provider = provider
        self._factors = factors
        self._checker = checker
        self._throttle = throttle if throttle is not None else LoginThrottle()
        self._naming_rules = naming_rules
        self._clock = clock
        self._monotonic = monotonic

    async def by_password(self, ip: str, username: str, password: str, *, code: str | None = "") -> Admin:
        """The administrator with this name and password, if they may come from `ip`.

        Args:
            ip: where they are.
            username: as typed.
            password: as typed.
            code: one-time or recovery code; empty is none, None is for those who are in and only confirm
                their password. With passkeys alone a recovery code is the only one that is right.

        Raises:
            Throttled: too many attempts by this address or on this name.
            LoginRefused: reasons ``bad_username``, ``unknown_user``, ``bad_credential``, ``disabled``,
                ``address``, ``busy``, ``provider_unavailable``, ``code_needed``, ``bad_code``.
        """
        return await self._delayed(self._by_password(ip, username, password, code))

    async def _delayed(self, login: Awaitable[_Found]) -> _Found:
        """The outcome of a login, after the time that it waits."""
        delays = self._delays()
        try:
            found = await login
        except LoginRefused as error:
            if delays.failed and error.reason not in _NO_FAILURE:
                await asyncio.sleep(delays.failed)
            raise
        if delays.success:
            await asyncio.sleep(delays.success)
        return found

    async def _by_password(self, ip: str, username: str, password: str, code: str | None) -> Admin:
        name = login_name(username, self._naming_rules)
        if name is None:
            self._admit("", ip)
            raise LoginRefused("bad_username")
        self._admit(name, ip)
        admin = await self._ask(self._provider.admin, name)
        stored = admin.password if admin is not None else ""
        right = await self._checker.fits(ip, f"admin:{name}", stored, password)
        if admin is None or not right:
            raise LoginRefused("unknown_user" if admin is None else "bad_credential", username=name)
        require_welcome(admin, ip)
        if code is not None and has_factor(admin.filters):
            await self._require_code(admin, code)
        self._throttle.succeeded(name, ip, self._monotonic())
        await self._remember(admin, password)
        return admin

    async def by_code(self, ip: str, admin: Admin, code: str) -> None:
        """Return if a code finishes a login whose password was right a moment ago (``code_needed``).

        Args:
            ip: where they are.
            admin: as `store` has them now.
            code: one-time or recovery code.

        Raises:
            LoginRefused: as `by_password`.
        """
        await self._delayed(self._by_code(ip, admin, code))

    async def _by_code(self, ip: str, admin: Admin, code: str) -> None:
        require_welcome(admin, ip)
        await self._require_code(admin, code)
        self._throttle.succeeded(admin.username, ip, self._monotonic())
        await self._touch_admin(admin)

    async def by_api_key(self, ip: str, text: str) -> ApiKeyLogin:
        """The identity that an API key (``id.secret`` or ``id.secret.username``) acts as.

        Raises:
            Throttled: too many wrong keys from this address.
            LoginRefused: reasons as above and ``expired``, ``scope`` (bound and unbound use mixed up),
                ``api_key_auth`` (the account does not allow keys).
        """
        parts = apikeys.split_api_key(text)
        name = parts.key_id if parts is not None else ""
        self._admit(f"api_key:{name}", ip)
        key = await self._ask(self._provider.api_key, name) if parts is not None else None
        secret = parts.secret if parts is not None else ""
        if not await self._fits(ip, name, key.key if key is not None else _NO_SECRET, secret) or key is None:
            raise LoginRefused("bad_credential")
        now_ms = int(self._clock() * 1000)
        if key.expires_at and key.expires_at <= now_ms:
            raise LoginRefused("expired", rule="api_key[expires_at]")
        login = await self._act_as(key, parts.username if parts is not None else "", ip, now_ms)
        self._throttle.succeeded(f"api_key:{name}", ip, self._monotonic())
        if now_ms - key.last_use_at >= _TOUCH_MS:
            await self._touch_key(key, now_ms)
        return login

    # -- steps -------------------------------------------------------------------------------------------

    async def _require_code(self, admin: Admin, code: str) -> None:
        if not code or self._factors is None:
            raise LoginRefused("code_needed", username=admin.username)
        try:
            await self._factors().require(admin, code)
        except OperatorError as error:
            _log.error("management login of %r refused, %s", admin.username, error)
            raise LoginRefused("provider_unavailable", username=admin.username) from error

    def _admit(self, name: str, ip: str) -> None:
        wait = self._throttle.admit(name, ip, self._monotonic())
        if wait:
            raise Throttled(wait, username=name)

    async def _fits(self, ip: str, name: str, stored: str, secret: str) -> bool:
        if apikeys.is_fast(stored):
            return passwords.verify(secret, stored) and bool(secret)
        return await self._checker.fits(ip, f"api_key:{name}", stored, secret)

    async def _act_as(self, key: ApiKey, named: str, ip: str, now_ms: int) -> ApiKeyLogin:
        bound = key.admin if key.scope == ADMIN_SCOPE else key.user
        if bool(bound) == bool(named):
            raise LoginRefused("scope", rule="api_key[scope]")
        name = bound or login_name(named, self._naming_rules) or ""
        if key.scope == ADMIN_SCOPE:
            admin = await self._ask(self._provider.admin, name) if name else None
            if admin is None:
                raise LoginRefused("unknown_user", username=name)
            require_welcome(admin, ip)
            if not admin.filters.allow_api_key_auth:
                raise LoginRefused("api_key_auth", username=name, rule="filters.allow_api_key_auth")
            return ApiKeyLogin(key, admin=admin)
        if key.scope != USER_SCOPE:
            raise LoginRefused("scope", rule="api_key[scope]")
        account = await self._ask(self._provider.user, name) if name else None
        if account is None:
            raise LoginRefused("unknown_user", username=name)
        # A key is no password: rules about methods do not concern it.
        require_login(account, protocol=Protocol.HTTP, method="", ip=ip, now_ms=now_ms)
        if not account.filters.allow_api_key_auth:
            raise LoginRefused("api_key_auth", username=name, rule="filters.allow_api_key_auth")
        return ApiKeyLogin(key, account=replace(account, password=""))

    async def _ask(self, function: Callable[[str], Awaitable[_Record | None]], name: str) -> _Record | None:
        try:
            return await function(name)
        except OperatorError as error:
            _log.error("management login of %r refused, %s", name, error)
            raise LoginRefused("provider_unavailable", username=name) from error

    # -- what a login leaves behind ------------------------------------------------------------------------

    async def _remember(self, admin: Admin, password: str) -> None:
        """Write `last_login` and a better hash, seldom enough not to matter."""
        now_ms = int(self._clock() * 1000)
        try:
            made = await self._checker.replacement(f"admin:{admin.username}", admin.password, password)
            if made is None and now_ms - admin.last_login < _TOUCH_MS:
                return
            if made is not None:
                await self._upgrade(admin, made)
            await self._provider.touch_admin(admin.username, now_ms)
        except TidegateError as error:
            _log.warning("login of administrator %r was not stored: %s", admin.username, error)

    async def _touch_admin(self, admin: Admin) -> None:
        try:
            await self._provider.touch_admin(admin.username, int(self._clock() * 1000))
        except TidegateError as error:
            _log.warning("login of administrator %r was not stored: %s", admin.username, error)

    async def _upgrade(self, admin: Admin, made: str) -> None:
        """Store a better hash, unless somebody changes the administrator now; the next login tries again."""
        current = await self._provider.admin(admin.username)
        if current is None or current.password != admin.password:
            return

        def unchanged(stored: Admin) -> None:
            if stored != current:
                raise Outdated

        with contextlib.suppress(Outdated):
            await self._provider.update_admin(replace(current, password=made), guard=unchanged)

    async def _touch_key(self, key: ApiKey, now_ms: int) -> None:
        try:
            await self._provider.touch_api_key(key.id, now_ms)
        except TidegateError as error:
            _log.warning("use of API key %r was not stored: %s", key.id, error)


def require_welcome(admin: Admin, ip: str) -> None:
    """Ask the rules of an administrator: status and allow list.

    Raises:
        LoginRefused: ``disabled`` or ``address``.
    """
    if admin.status != 1:
        raise LoginRefused("disabled", username=admin.username, rule="status")
    networks = AddressList(admin.filters.allow_list)
    if networks and networks.match(ip) is None:
        raise LoginRefused("address", username=admin.username, rule="filters.allow_list")
