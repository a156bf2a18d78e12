# SPDX-License-Identifier: Apache-2.0
"""Hooks that decide about logins, around the accounts of the data provider.

The order is that of SFTPGo: external authentication, or else the hook before a login, which may change or
make the account; then the questions of ``keyboard-interactive``, or the check of a password. What no hook
has proved the stored account proves. A hook that fails refuses the login and says so in the log alone.

Long, because the order in which hooks are asked, and what each answer means for the next, is one thing.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from tidegate.abc import AsksFirst, Challenge, Credential, KnowsKeys, LoginAttempt, NextStep
from tidegate.accounts.key_kinds import is_certificate, is_security_key
from tidegate.errors import (
    CallerError,
    LoginRefused,
    OperatorError,
    OutsideBusy,
    OutsideFailed,
    ProviderUnavailable,
    Unsupported,
)
from tidegate.hooks.asking import Asker, Question, read_object
from tidegate.hooks.documents import switched_off
from tidegate.hooks.payloads import (
    connection_question,
    external_question,
    openssh_line,
    password_question,
    pre_login_question,
)
from tidegate.hooks.questions import Questions
from tidegate.hooks.records import HookRecords, Passwords
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.identity.accounts import Accepted, StoredAccounts
from tidegate.model import Account, Peer
from tidegate.policy.methods import CERTIFICATE, uses_certificate

KEYBOARD: Final = "keyboard-interactive"
MAX_REMEMBERED: Final = 10_000
"""Users and connections that are remembered, of each kind."""
SAME_LOGIN_SECONDS: Final = 30.0
"""An answer to a key that is only offered holds for the signature that follows on the same connection."""
MAX_WAIT_SECONDS: Final = 5.0
"""Longest wait by which the refusal of an unknown user is made to look like that of a known one."""

Code = Callable[[Account, str], Awaitable[None]]

_log = logging.getLogger(__name__)


class LoginHooks:
    """The stored accounts with hooks around them: an `Authenticator`, `KnowsKeys` and `AsksFirst`.

    Life: constructed, `bind`, used, `close`.

    Args:
        settings: the hooks.
        asker: asks them.
        records: stores what they answer.
        conversations: asks the one that talks with people, who take their time; with places of its own.
        connections: asks the one about new connections, likewise.
        clock: Unix seconds.
        monotonic: seconds.
    """

    def __init__(
        self,
        settings: HookSettings,
        asker: Asker,
        records: HookRecords,
        *,
        conversations: Asker | None = None,
        connections: Asker | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._records = records
        self._conversations = conversations or asker
        self._connections = connections or asker
        self._clock = clock
        self._monotonic = monotonic
        self._stored: StoredAccounts
        self._passwords: Passwords
        self._questions: Questions | None = None
        self._accepted: OrderedDict[str, float] = OrderedDict()
        self._prepared: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._usual_seconds = 0.0

    def bind(self, stored: StoredAccounts, passwords: Passwords, code: Code) -> None:
        """Take the parts of `Identity` that prove what hooks leave to it.

        Args:
            stored: the accounts of the data provider.
            passwords: checks and hashes passwords.
            code: returns if a one-time code of an account is right, else raises `LoginRefused`.
        """
        self._stored, self._passwords = stored, passwords
        hook = self._settings.keyboard_interactive
        if hook is not None:
            self._questions = Questions(hook, self._conversations, passwords, code)

    # -- Authenticator -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing: hooks are asked when they are needed."""

    async def close(self) -> None:
        """End conversations and calls."""
        if self._questions is not None:
            await self._questions.close()
        await self._conversations.close()
        await self._connections.close()
        await self._asker.close()

    async def find(self, username: str) -> Account | None:
        """The stored account.

        Raises:
            ProviderUnavailable: the provider cannot be asked.
            Unsupported: there is none, and external authentication, whose accounts are not stored, may know
                the user.
        """
        account = await self._stored.find(username)
        if account is None and self._settings.external_auth is not None and not self._records.store:
            raise Unsupported("only a login tells")
        return account

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """True if a signature by a key may help; external authentication is asked once it is there."""
        stored = await self._stored.find(username)
        if self._external("publickey", stored) is not None:
            return True
        await self.prepare(peer, username, "publickey")
        return await self._stored.knows_key(peer, username, public_key)

    async def prepare(self, peer: Peer, username: str, method: str) -> None:
        """Ask the hook before a login, unless it was asked a moment ago about the same login.

        Raises:
            LoginRefused: it failed.
        """
        hook = self._settings.pre_login
        if hook is None:
            return
        now, place = self._monotonic(), (peer.connection_id, username, method)
        if peer.connection_id and now - self._prepared.get(place, -SAME_LOGIN_SECONDS) < SAME_LOGIN_SECONDS:
            return
        stored = await self._records.known(username)
        if (stored is None and hook.old) or switched_off(stored, "pre_login"):
            return
        await self._pre_login(hook, stored, peer, username, method)
        if method == "publickey":
            _remember(self._prepared, place, now)

    async def verify(self, attempt: LoginAttempt) -> Accepted | Account | NextStep | None:
        """See `tidegate.abc.Authenticator`.

        Raises:
            LoginRefused: a hook refuses (``hook``), fails (``hook_failed``) or waits for too many others
                (``busy``), or the credential is wrong.
            ProviderUnavailable: the provider cannot be asked.
        """
        peer, username, credential = attempt.peer, attempt.username, attempt.credential
        stored = await self._records.known(username)
        if is_security_key(credential.public_key) and not credential.touched:
            external = None  # the options of its line decide
        else:
            external = self._external(credential.kind, stored)
        if credential.kind == KEYBOARD and self._questions is not None:
            return await self._questions.answer(attempt)
        if external is not None:
            account = await self._external_auth(external, stored, peer, username, credential)
            return await self._after_external(account, attempt)
        await self.prepare(peer, username, "+".join((*attempt.done, credential.kind)))
        self._prepared.pop((peer.connection_id, username, "publickey"), None)
        return await self._by_password_hook(attempt) or await self._stored.verify(attempt)

    async def certified(self, peer: Peer, username: str, public_key: bytes) -> Accepted | None:
        """Ask about a login that a user certificate has proved, as about a key; the certificate is not kept.

        Raises:
            LoginRefused: a hook refuses or fails.
        """
        stored = await self._records.known(username)
        external = self._external("publickey", stored)
        if external is None:
            await self.prepare(peer, username, "publickey")
            self._prepared.pop((peer.connection_id, username, "publickey"), None)
            return None
        credential = Credential("publickey", public_key=public_key)
        account = await self._external_auth(external, stored, peer, username, credential)
        return Accepted(account, stored=account.id != 0, hashed=False)

    async def first_challenge(self, peer: Peer, username: str) -> Challenge | None:
        """The questions of the hook that asks them; None leaves it to the usual one for the password.

        Raises:
            LoginRefused: a hook refuses or fails.
        """
        if self._questions is None:
            return None
        stored = await self._records.known(username)
        external = self._external(KEYBOARD, stored)
        account: Account | None
        if external is not None:
            account = await self._external_auth(external, stored, peer, username, Credential(KEYBOARD))
        else:
            await self.prepare(peer, username, KEYBOARD)
            account = await self._records.known(username)
        return await self._questions.begin(peer, username, account)

    async def admits(self, protocol: str, address: str) -> bool:
        """True if the hook about new connections lets one in, or there is none. A failure refuses."""
        hook = self._settings.post_connect
        if hook is None:
            return True
        try:
            reply = await self._connections.ask(hook, connection_question(protocol, address))
        except OutsideFailed as error:
            _log.error(
                "connection from %s by %s refused, %s failed: %s", address, protocol, hook.key, error.detail
            )
            return False
        if not reply.ok:
            _log.info(
                "connection from %s by %s refused by %s: %s", address, protocol, hook.key, reply.problem
            )
        return reply.ok

    async def left(self, peer: Peer) -> None:
        """A connection has ended: so does what is asked there."""
        if self._questions is not None:
            await self._questions.forget(peer.connection_id)

    # -- which hook ---------------------------------------------------------------------------------------

    def _external(self, kind: str, stored: Account | None) -> Hook | None:
        """External authentication, if it is asked about a credential of an account."""
        if switched_off(stored, "external_auth"):
            return None
        hook = self._settings.external_for(kind, asks_questions=self._questions is not None)
        if hook is None or stored is None:
            return hook
        cached = stored.filters.external_auth_cache_time
        if cached <= 0:
            return hook
        since = max(stored.last_login / 1000, self._accepted.get(stored.username, 0.0))
        return None if self._clock() - since < cached else hook

    # -- external authentication ---------------------------------------------------------------------------

    async def _external_auth(
        self, hook: Hook, stored: Account | None, peer: Peer, username: str, credential: Credential
    ) -> Account:
        from tidegate.identity.client_certificates import names_user

        asks_questions = credential.kind == KEYBOARD and self._questions is not None
        secret = "" if asks_questions else credential.secret
        key = openssh_line(credential.public_key) if credential.public_key else ""
        certificate = ""
        if credential.kind == CERTIFICATE:
            # The door has checked its authority; the hook decides about nobody but whom it names.
            if not names_user(credential.certificate, username):
                raise LoginRefused("bad_credential", username=username)
            certificate = ssl.DER_cert_to_PEM_cert(credential.certificate)
        kept = "" if is_certificate(credential.public_key) else key  # its authority vouches for a certificate
        question = external_question(
            username,
            stored,
            peer,
            secret=secret,
            key=key,
            certificate=certificate,
            asks_questions=asks_questions,
        )
        reply = await self._ask(hook, question, username)
        body = reply.strip()
        try:
            if not body:
                if hook.old or stored is None:
                    self._refuse(hook, username, "answered nothing")
                account = await self._records.with_secret(
                    stored, peer, passwords=self._passwords, secret=secret, key=kept
                )
            else:
                answer = read_object(hook, body)
                if not answer.get("username"):
                    raise LoginRefused("hook", rule=hook.key, username=username)
                account = await self._records.whole(
                    answer, peer, stored=stored, passwords=self._passwords, secret=secret, key=kept
                )
        except ProviderUnavailable:
            raise
        except (CallerError, OperatorError, OutsideFailed) as error:
            self._fail(hook, username, error)
        _remember(self._accepted, account.username, self._clock())
        return account

    async def _after_external(self, account: Account, attempt: LoginAttempt) -> Accepted:
        """An account that external authentication answered; the check of passwords is asked too."""
        kind, family = attempt.credential.kind, attempt.peer.protocol.family
        if kind == CERTIFICATE and not uses_certificate(account):
            raise LoginRefused("certificate_unused", username=attempt.username)
        hook = self._settings.check_password_for(family)
        if (
            kind in ("password", KEYBOARD)
            and hook is not None
            and not switched_off(account, "check_password")
        ):
            status, to_verify = await self._check_password(hook, attempt, account.username)
            if status == 2 and not await self._passwords.fits(
                attempt.peer.remote_ip, account.username, account.password, to_verify
            ):
                raise LoginRefused("bad_credential", username=attempt.username)
        return Accepted(account, stored=account.id != 0, hashed=False)

    # -- before a login ------------------------------------------------------------------------------------

    async def _pre_login(
        self, hook: Hook, stored: Account | None, peer: Peer, username: str, method: str
    ) -> None:
        question = pre_login_question(username, stored, peer, method, old=hook.old)
        body = (await self._ask(hook, question, username, no_change=True)).strip()
        if not body:
            return
        try:
            await self._records.partial(read_object(hook, body), peer, username=username, stored=stored)
        except ProviderUnavailable:
            raise
        except (CallerError, OperatorError, OutsideFailed) as error:
            self._fail(hook, username, error)

    # -- checks of passwords ---------------------------------------------------------------------------------

    async def _by_password_hook(self, attempt: LoginAttempt) -> Accepted | None:
        """The account, if the hook that checks passwords has accepted one; None if it was not asked."""
        credential, peer = attempt.credential, attempt.peer
        hook = self._settings.check_password_for(peer.protocol.family)
        if hook is None or credential.kind not in ("password", KEYBOARD):
            return None
        account = await self._records.known(attempt.username)
        if account is None:
            # Unknown users do not reach the hook; that must not show by the time.
            await asyncio.sleep(self._usual_seconds)
            return None
        if switched_off(account, "check_password") or await self._stored.takes_any_password(account, attempt):
            return None
        begun = self._monotonic()
        status, to_verify = await self._check_password(hook, attempt, account.username)
        self._usual_seconds = min(self._monotonic() - begun, MAX_WAIT_SECONDS)
        if status == -1:
            return None
        if status == 2 and not await self._passwords.fits(
            peer.remote_ip, account.username, account.password, to_verify
        ):
            raise LoginRefused("bad_credential", username=attempt.username)
        return Accepted(account, stored=True, hashed=status == 2 and to_verify == credential.secret)

    async def _check_password(self, hook: Hook, attempt: LoginAttempt, username: str) -> tuple[int, str]:
        """The status that the hook answered, -1, 1 or 2, and the password to check for 2."""
        question = password_question(username, attempt.credential.secret, attempt.peer)
        body = await self._ask(hook, question, attempt.username)
        try:
            answer = read_object(hook, body)
            status, to_verify = answer.get("status", 0), answer.get("to_verify", "")
            if type(status) is not int or not isinstance(to_verify, str):
                raise OutsideFailed(detail=f"{hook.shown} answered a status or to_verify of another type")
        except OutsideFailed as error:
            self._fail(hook, attempt.username, error)
        if status not in (-1, 1, 2):
            raise LoginRefused("hook", rule=hook.key, username=attempt.username)
        return status, to_verify

    # -- asking ------------------------------------------------------------------------------------------

    async def _ask(self, hook: Hook, question: Question, username: str, *, no_change: bool = False) -> bytes:
        """The answer of a hook.

        Args:
            no_change: HTTP status 204 is an empty answer.

        Raises:
            LoginRefused: it refuses or fails.
        """
        try:
            reply = await self._asker.ask(hook, question)
        except OutsideBusy as error:
            _log.error("login of user %r refused: %s: %s", username, hook.key, error.detail)
            raise LoginRefused("busy", rule=hook.key, username=username) from None
        except OutsideFailed as error:
            self._fail(hook, username, error)
        if no_change and reply.status == 204:
            return b""
        if not reply.ok:
            self._refuse(hook, username, reply.problem, failed=reply.status >= 500)
        return reply.body

    @staticmethod
    def _refuse(hook: Hook, username: str, why: str, *, failed: bool = False) -> NoReturn:
        _log.warning("login of user %r refused by %s: %s", username, hook.key, why)
        raise LoginRefused("hook_failed" if failed else "hook", rule=hook.key, username=username)

    @staticmethod
    def _fail(hook: Hook, username: str, error: Exception) -> NoReturn:
        what = error.detail if isinstance(error, OutsideFailed) and error.detail else error
        _log.error("login of user %r refused, %s failed: %s", username, hook.key, what)
        raise LoginRefused("hook_failed", rule=hook.key, username=username) from None


def _remember(where: OrderedDict[Any, float], key: object, value: float) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > MAX_REMEMBERED:
        where.popitem(last=False)


def _keeps_contract(hooks: LoginHooks) -> tuple[KnowsKeys, AsksFirst]:
    return hooks, hooks
