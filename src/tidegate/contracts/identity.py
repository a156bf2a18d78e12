# SPDX-License-Identifier: Apache-2.0
"""Contracts of authenticators. MUST is meant as in RFC 2119; `tidegate.abc` promises the names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tidegate.model import Account, Peer, Tally


@dataclass(frozen=True, slots=True)
class Credential:
    """Something offered as a proof of who somebody is.

    Attributes:
        kind: ``password``, ``publickey``, ``keyboard-interactive``, ``TLSCertificate``, or another word that
            a door and an authenticator share.
        secret: the password; of ``keyboard-interactive`` the answer, if there was one question.
        public_key: the key blob in SSH wire form (RFC 4253, 6.6); possession is proved by the door.
            Certificates are judged before authenticators are asked, which never see one.
        answers: of ``keyboard-interactive``, one for each prompt of the challenge.
        touched: of a security key (FIDO), that somebody touched it to sign. An authenticator of its own is
            asked only about signatures with a touch.
        verified: likewise, that the security key asked for a PIN or a finger.
        certificate: of ``TLSCertificate`` (DER); the door has checked its authority, its dates and that it is
            not revoked, and that the client has its key.
    """

    kind: str
    secret: str = ""
    public_key: bytes = b""
    answers: tuple[str, ...] = ()
    touched: bool = False
    verified: bool = False
    certificate: bytes = b""

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a person.

    Attributes:
        text: shown as it is, for instance ``"One-time code: "``.
        echo: the answer may be seen while it is typed.
    """

    text: str
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Challenge:
    """Questions that are asked together and answered together; without prompts it is a notice."""

    prompts: tuple[Prompt, ...]
    title: str = ""
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    """A credential was right, and another one is needed.

    Attributes:
        methods: kinds of credential that may follow, at least one.
        challenge: the questions, if ``keyboard-interactive`` follows; None asks for the password.
        state: given back in `LoginAttempt.state`; it stays in this process and ends with the connection.
    """

    methods: tuple[str, ...]
    challenge: Challenge | None = None
    state: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A credential, and what was accepted before it on the same connection for the same user.

    Attributes:
        peer: the other end.
        username: as the naming rules of the server leave it.
        credential: what is offered now.
        done: kinds of credential that were accepted before, in order.
        state: `NextStep.state` of the step before.
    """

    peer: Peer
    username: str
    credential: Credential
    done: tuple[str, ...] = ()
    state: object = field(default=None, repr=False)


class Authenticator(Protocol):
    """Says who somebody is. Several are asked in the configured order, the stored accounts last.

    Accounts need not be stored anywhere: usage of theirs is kept under their name, and who is connected is
    looked after by asking `find`. An account that is not stored has the id 0.

    Life: constructed (pure), `open`, used, `close` (legal after a failed open). No method may block the event
    loop. A failure is an error of `tidegate.errors`; the login is refused then, and no other authenticator
    is asked.
    """

    async def open(self) -> None:
        """Connect, read files.

        Raises:
            OperatorError: the options cannot be used; the server does not start.
        """
        ...

    async def close(self) -> None:
        """Release everything."""
        ...

    async def find(self, username: str) -> Account | None:
        """The account as it is now, without any credential; None if there is no such user here.

        Raises:
            Unsupported: accounts can only be told from a login. Who is connected then stays for as long as
                the account of that login allows.
            ProviderUnavailable: not now; nobody is sent away for that.
        """
        ...

    async def verify(self, attempt: LoginAttempt) -> Account | NextStep | None:
        """Check one credential.

        The steps of one login all come to the authenticator that took the first.

        Returns:
            the account if nothing else has to be proved; the next step if something has; None if this
            authenticator does not know the user. The last MUST take as long as a refusal.

        Raises:
            LoginRefused: the user is known here and the credential is wrong.
        """
        ...


@runtime_checkable
class KnowsKeys(Protocol):
    """An `Authenticator` MAY have this beside its contract.

    Without it a key is known if `Authenticator.find` gives an account that lists it in ``public_keys``.
    """

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """True if a signature by this key would help the user; possession is not proved yet."""
        ...


@runtime_checkable
class AsksFirst(Protocol):
    """An `Authenticator` MAY have this: its own questions at the start of ``keyboard-interactive``."""

    async def first_challenge(self, peer: Peer, username: str) -> Challenge | None:
        """The first questions; None leaves it to the next authenticator, at last the password is asked for.

        They are shown before anything is proved: they MUST NOT tell whether there is such a user.
        """
        ...


@runtime_checkable
class PreLogin(Protocol):
    """An `Authenticator` MAY have this: a say about every account after its credentials were accepted.

    Asked in the configured order, for accounts of other authenticators and stored ones too, and before the
    rules of the account (status, expiry, networks, methods, hours), which see what it answers.
    """

    async def pre_login(self, account: Account, peer: Peer, method: str) -> Account:
        """The account to go on with: the given one, or one of that name with other values.

        The change holds for this session; nothing is stored. Usage is not changed by it.

        Raises:
            LoginRefused: the login is refused; `reason` goes to the log.
        """
        ...


@runtime_checkable
class KeepsTallies(Protocol):
    """An `Authenticator` MAY have this: its accounts bring the tally that others count on, too.

    The `tally` of its accounts is what was counted there; what it does not take is kept by the server, under
    the name of the account, and added to that. Without it, the tally of an account that is not stored is
    what the server has counted.
    """

    async def add_tally(self, username: str, change: Tally) -> bool:
        """Add a change of the tally; False if it is not kept here. It MUST NOT be kept then."""
        ...
