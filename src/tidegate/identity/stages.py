# SPDX-License-Identifier: Apache-2.0
"""The stages of a login: who it is, what has to be proved, and the last word before the account is used.

Long, because each stage hands its state to the next, and a refusal in any of them has to cost the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

from tidegate.abc import (
    AsksFirst,
    Authenticator,
    Challenge,
    Credential,
    KeepsTallies,
    KnowsKeys,
    LoginAttempt,
    NextStep,
    PreLogin,
    Prompt,
)
from tidegate.accounts.key_kinds import is_security_key
from tidegate.errors import LoginRefused, Unsupported
from tidegate.identity.accounts import Accepted, StoredAccounts, holds_key
from tidegate.identity.api import PartialLogin
from tidegate.identity.hashing import PasswordChecker
from tidegate.model import TALLY_NAMES, Account, Peer, Tally

PASSWORD_CHALLENGE: Final = Challenge((Prompt("Password: "),))
"""Asked where no authenticator has questions of its own."""
CODE_CHALLENGE: Final = Challenge((Prompt("Authentication code: "),))
"""Asked for a one-time code; programs of users look for this text of the field's other gateway."""
MAX_PROMPTS: Final = 8
"""Questions of one challenge that are passed on; an authenticator with more is at fault."""
_MAX_SEEN: Final = 10_000
"""Accounts of the last logins that are remembered for authenticators that cannot find them by name."""

_USAGE_FIELDS: Final = (
    "id",
    "username",
    "created_at",
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "used_upload_data_transfer",
    "used_download_data_transfer",
    "last_login",
    "login_count",
    "first_upload",
    "first_download",
    "tally",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """The state of a login between two credentials.

    Attributes:
        authenticator: who took the first credential and takes the next.
        done: kinds of credential that were accepted, in order.
        state: what the authenticator wants to see again.
        sftp_only: a certificate among them forbids commands.
        code: the next answer is a one-time code, which `Identity` checks itself.
        coded: a code was right.
        accepted: with what the last credential was answered, if there is more to say than the account.
    """

    authenticator: Asked
    done: tuple[str, ...]
    state: object = None
    sftp_only: bool = False
    code: bool = False
    coded: bool = False
    accepted: Accepted | None = None


class Surrounded(Protocol):
    """The stored accounts, with hooks around them: an `Authenticator` with more to say."""

    def bind(
        self,
        stored: StoredAccounts,
        passwords: PasswordChecker,
        code: Callable[[Account, str], Awaitable[None]],
    ) -> None:
        """Take the parts that prove what hooks leave to them."""
        ...

    async def open(self) -> None:
        """As `Authenticator.open`."""
        ...

    async def close(self) -> None:
        """As `Authenticator.close`."""
        ...

    async def find(self, username: str) -> Account | None:
        """As `Authenticator.find`."""
        ...

    async def verify(self, attempt: LoginAttempt) -> Accepted | Account | NextStep | None:
        """As `Authenticator.verify`; `Accepted` if a hook had a part in it."""
        ...

    async def certified(self, peer: Peer, username: str, public_key: bytes) -> Accepted | None:
        """Ask about a login that a user certificate has proved; None leaves it to the account of the name.

        Raises:
            LoginRefused: a hook refuses.
        """
        ...

    async def admits(self, protocol: str, address: str) -> bool:
        """True if a new connection may go on."""
        ...

    async def left(self, peer: Peer) -> None:
        """A connection has ended."""
        ...


Asked = Authenticator | Surrounded | StoredAccounts
"""All kinds of authenticators that a credential is shown to."""


@runtime_checkable
class TakesPasswords(Protocol):
    """An authenticator of ours whose passwords are checked by the server's own threads and in their time."""

    def bind(self, passwords: PasswordChecker) -> None:
        """Take what checks passwords."""
        ...


@dataclass(frozen=True, slots=True)
class Proved:
    """The answer to a right credential.

    Attributes:
        step: who answered, and what is proved by now.
        account: the account, None while the authenticator asks for more.
        following: what it asks for.
    """

    step: Step
    account: Account | None = None
    following: NextStep | None = None


class Stages:
    """Authenticators in order, the stored accounts last. Life: constructed, `open`, used, `close`.

    Args:
        authenticators: in the configured order.
        stored: the accounts of the data provider.
        hooks: asked in their place, if there are any.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        stored: StoredAccounts,
        hooks: Surrounded | None = None,
    ) -> None:
        self._added = tuple(authenticators)
        self._hooks = hooks
        self._stored: Asked = stored if hooks is None else hooks
        self._chain: tuple[Asked, ...] = (*self._added, self._stored)
        self._asking = tuple(one for one in self._chain if isinstance(one, AsksFirst))
        self._last = tuple(one for one in self._added if isinstance(one, PreLogin))
        self._tallying = tuple(one for one in self._added if isinstance(one, KeepsTallies))
        self._opened: list[Asked] = []
        # Of authenticators that cannot find accounts by name: as the last login had them.
        self._seen: OrderedDict[str, Account] = OrderedDict()

    async def open(self) -> None:
        """Open every authenticator.

        Raises:
            OperatorError: one cannot be used; those before it are open until `close`.
        """
        for authenticator in self._chain:
            self._opened.append(authenticator)
            await authenticator.open()

    async def close(self) -> None:
        """Close what was opened; an error of one keeps no other open."""
        opened, self._opened = self._opened, []
        results = await asyncio.gather(*(one.close() for one in opened), return_exceptions=True)
        for one, result in zip(opened, results, strict=True):
            if isinstance(result, Exception):
                _log.error("%s did not close: %s", type(one).__name__, result)

    def is_stored(self, step: Step) -> bool:
        """True if the account is the provider's."""
        return step.authenticator is self._stored and (step.accepted is None or step.accepted.stored)

    def is_hashed(self, step: Step) -> bool:
        """True if the provider's own hash or key proved the login."""
        return step.authenticator is self._stored and (step.accepted is None or step.accepted.hashed)

    @staticmethod
    def is_unverified(step: Step) -> bool:
        """True if the password was not verified; see `Accepted`."""
        return step.accepted is not None and step.accepted.unverified

    # -- who ---------------------------------------------------------------------------------------------

    async def find(self, username: str) -> tuple[Account | None, bool]:
        """The account as it is now, None if nobody knows it, and True if it is the provider's.

        Raises:
            ProviderUnavailable: an authenticator or the provider cannot be asked.
            Unsupported: nobody knows it who can tell, and somebody can only tell from a login.
        """
        account, stored, _ = await self.find_with_tally(username)
        return account, stored

    async def find_with_tally(self, username: str) -> tuple[Account | None, bool, bool]:
        """As `find`, and True if the account brings a tally of its own.

        Raises:
            ProviderUnavailable: an authenticator or the provider cannot be asked.
            Unsupported: nobody knows it who can tell, and somebody can only tell from a login.
        """
        blind: Unsupported | None = None
        for authenticator in self._chain:
            stored = authenticator is self._stored
            try:
                account = await authenticator.find(username)
            except Unsupported as error:
                blind, account, stored = error, self._seen.get(username), False
            if account is not None:
                return account, stored, isinstance(authenticator, KeepsTallies)
        if blind is not None:
            raise blind
        return None, False, False

    @staticmethod
    def brings_tally(step: Step) -> bool:
        """True if the account brings a tally of its own."""
        return isinstance(step.authenticator, KeepsTallies)

    async def keep_tally(self, username: str, change: Tally) -> bool:
        """Give a change of a tally to whoever keeps it; False if nobody does."""
        for authenticator in self._tallying:
            if await authenticator.add_tally(username, change):
                return True
        return False

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """True if somebody here takes a signature by this key for the user."""
        for authenticator in self._chain:
            if isinstance(authenticator, KnowsKeys):
                known = await authenticator.knows_key(peer, username, public_key)
            else:
                try:
                    known = holds_key(await authenticator.find(username), public_key)
                except Unsupported:
                    known = False
            if known:
                return True
        return False

    # -- what has to be proved -----------------------------------------------------------------------------

    async def challenge(self, peer: Peer, username: str, after: PartialLogin | None) -> Challenge:
        """The question of ``keyboard-interactive`` now."""
        asking: Sequence[object] = self._asking
        if after is not None:
            if after.challenge is not None:
                return after.challenge
            asking = (after.step.authenticator,) if isinstance(after.step, Step) else ()
        for authenticator in asking:
            if not isinstance(authenticator, AsksFirst):
                continue
            challenge = await authenticator.first_challenge(peer, username)
            if challenge is not None:
                return _bounded(challenge)
        return PASSWORD_CHALLENGE

    async def verify(
        self, peer: Peer, username: str, credential: Credential, after: PartialLogin | None
    ) -> Proved:
        """Check a credential: with the authenticator of the step before, else with each in order.

        Raises:
            LoginRefused: it is wrong, or nobody knows the user (``unknown_user``).
            TidegateError: it cannot be checked.
        """
        former = after.step if after is not None and isinstance(after.step, Step) else None
        done, state = (former.done, former.state) if former is not None else ((), None)
        sftp_only = former is not None and former.sftp_only
        asked = (former.authenticator,) if former is not None else self._chain
        if not credential.touched and is_security_key(credential.public_key):
            # Who lets a key go without a touch is the stored account, by the options of its key.
            asked = tuple(one for one in asked if one is self._stored)
        attempt = LoginAttempt(peer, username, credential, done, state)
        for authenticator in asked:
            answer = await authenticator.verify(attempt)
            if answer is None:
                continue
            now = done if done[-1:] == (credential.kind,) else (*done, credential.kind)
            if isinstance(answer, NextStep):
                if not answer.methods:
                    raise LoginRefused("provider_error", username=username)
                challenge = None if answer.challenge is None else _bounded(answer.challenge)
                following = replace(answer, challenge=challenge)
                return Proved(Step(authenticator, now, answer.state, sftp_only), following=following)
            if isinstance(answer, Accepted):
                step = Step(authenticator, now, sftp_only=sftp_only, coded=answer.coded, accepted=answer)
                return Proved(step, account=answer.account)
            if answer.username != username:
                _log.error(
                    "%s answered with account %r for user %r: refused",
                    type(authenticator).__name__,
                    answer.username,
                    username,
                )
                raise LoginRefused("provider_error", username=username)
            return Proved(Step(authenticator, now, sftp_only=sftp_only), account=answer)
        raise LoginRefused("unknown_user", username=username)

    async def admits(self, protocol: str, address: str) -> bool:
        """True if no hook refuses a new connection."""
        return self._hooks is None or await self._hooks.admits(protocol, address)

    async def left(self, peer: Peer) -> None:
        """A connection has ended: nobody answers there any more."""
        if self._hooks is not None:
            await self._hooks.left(peer)

    async def certified(self, peer: Peer, username: str, public_key: bytes, *, sftp_only: bool) -> Proved:
        """The account that a certificate stands for: of the first authenticator that finds it by name.

        Raises:
            LoginRefused: nobody does (``unknown_user``), or a hook refuses.
            TidegateError: somebody who may cannot be asked.
        """
        for authenticator in self._chain:
            if authenticator is self._hooks and self._hooks is not None:
                accepted = await self._hooks.certified(peer, username, public_key)
                if accepted is not None:
                    step = Step(authenticator, ("publickey",), sftp_only=sftp_only, accepted=accepted)
                    return Proved(step, account=accepted.account)
            try:
                account = await authenticator.find(username)
            except Unsupported:
                continue  # it tells accounts from logins of its own kinds alone
            if account is not None and account.username == username:
                return Proved(Step(authenticator, ("publickey",), sftp_only=sftp_only), account=account)
        raise LoginRefused("unknown_user", username=username)

    # -- the last word -------------------------------------------------------------------------------------

    async def pre_login(self, account: Account, peer: Peer, method: str) -> Account:
        """The account to go on with, after each authenticator that has a say about it.

        Name, identity and usage of an account stay as they are, whatever it answers.

        Raises:
            LoginRefused: one of them refuses.
        """
        for authenticator in self._last:
            changed = await authenticator.pre_login(account, peer, method)
            if changed is not account:
                kept = {name: getattr(account, name) for name in _USAGE_FIELDS}
                account = replace(changed, **kept)
        return account

    def remember(self, account: Account) -> None:
        """Keep an account that is not stored as its login found it, for `find`."""
        self._seen[account.username] = replace(account, password="")
        self._seen.move_to_end(account.username)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)


def with_usage(account: Account, record: Account, *, brings_tally: bool = False) -> Account:
    """An account that is not stored, with the usage that is kept under its name.

    Args:
        brings_tally: its tally was counted elsewhere, and what is kept here comes on top.
    """
    kept = {name: getattr(record, name) for name in _USAGE_FIELDS if name != "username"}
    if brings_tally:
        sums = {one: getattr(account.tally, one) + getattr(record.tally, one) for one in TALLY_NAMES}
        kept["tally"] = Tally(**{one: max(0, value) for one, value in sums.items()})
    return replace(account, **kept)


def _bounded(challenge: Challenge) -> Challenge:
    if len(challenge.prompts) > MAX_PROMPTS:
        raise LoginRefused("provider_error")
    return challenge
