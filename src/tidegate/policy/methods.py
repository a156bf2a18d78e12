# SPDX-License-Identifier: Apache-2.0
"""Login methods: which may complete a login, which may begin one of two steps.

A login in two steps is offered only if every single-step SSH method is denied, as with the field's other
gateway: otherwise the second step would be one that nobody has to take.
"""

from __future__ import annotations

from typing import Final

from tidegate.model import Account, OtherProtocol, Protocol

PUBLICKEY: Final = "publickey"
PASSWORD: Final = "password"  # noqa: S105  the name of a method
PASSWORD_OVER_SSH: Final = "password-over-SSH"  # noqa: S105  the name of a method
KEYBOARD: Final = "keyboard-interactive"
KEY_AND_PASSWORD: Final = "publickey+password"  # noqa: S105  the name of a method
KEY_AND_KEYBOARD: Final = "publickey+keyboard-interactive"
COMMON_NAME: Final = "CommonName"
"""The value of `tls_username` that has a certificate's name be the user name."""
CERTIFICATE: Final = "TLSCertificate"
CERTIFICATE_AND_PASSWORD: Final = "TLSCertificate+password"  # noqa: S105  the name of a method

LOGIN_METHODS: Final = (
    PUBLICKEY,
    PASSWORD,
    PASSWORD_OVER_SSH,
    KEYBOARD,
    KEY_AND_PASSWORD,
    KEY_AND_KEYBOARD,
    CERTIFICATE,
    CERTIFICATE_AND_PASSWORD,
)
"""Every word that `denied_login_methods` may hold."""

_SSH_SINGLE: Final = (PUBLICKEY, PASSWORD, KEYBOARD)
_SSH_DOUBLE: Final = (KEY_AND_PASSWORD, KEY_AND_KEYBOARD)


def family_of(protocol: Protocol | str) -> str:
    """The word of `denied_protocols` for a door: SSH, FTP, DAV or HTTP."""
    if isinstance(protocol, Protocol | OtherProtocol):
        return protocol.family
    try:
        return Protocol(str(protocol)).family
    except ValueError:
        return str(protocol)


def denied_by(account: Account, method: str, protocol: Protocol | str) -> int | None:
    """Index in `denied_login_methods` of the entry that denies a method by name; None if none does."""
    words = {method}
    if method == PASSWORD and family_of(protocol) == "SSH":
        words.add(PASSWORD_OVER_SSH)
    return next((i for i, word in enumerate(account.filters.denied_login_methods) if word in words), None)


def denied_in_steps(account: Account, method: str, protocol: Protocol | str) -> int | None:
    """As `denied_by`, and for steps that no word of `denied_login_methods` names together, by their parts.

    Such steps (a password and a one-time code of a directory) are as good as the pair of two-step logins
    that they include; else each of them has to be allowed by itself.
    """
    if method in LOGIN_METHODS or "+" not in method:
        return denied_by(account, method, protocol)
    parts = method.split("+")
    if wants_two_steps(account):
        pairs = (pair for pair in _SSH_DOUBLE if set(pair.split("+")) <= set(parts))
        if any(denied_by(account, pair, protocol) is None for pair in pairs):
            return None
    found = (denied_by(account, part, protocol) for part in parts)
    return next((index for index in found if index is not None), None)


def wants_two_steps(account: Account) -> bool:
    """True if SSH logins of this account take two steps: every single one is denied, a double one is not."""
    if any(denied_by(account, method, Protocol.SSH) is None for method in _SSH_SINGLE):
        return False
    return any(denied_by(account, method, Protocol.SSH) is None for method in _SSH_DOUBLE)


def uses_certificate(account: Account) -> bool:
    """True if a TLS client certificate logs this account in, alone or with a password."""
    denied = account.filters.denied_login_methods
    return account.filters.tls_username == COMMON_NAME and not (
        CERTIFICATE in denied and CERTIFICATE_AND_PASSWORD in denied
    )


def combined(done: str, method: str) -> str:
    """The name of a login in several steps, for instance ``publickey+password``; the key's part goes first.

    The same method twice in a row (questions and more questions) is one step.
    """
    if not done or done.rsplit("+", maxsplit=1)[-1] == method:
        return done or method
    if method == PUBLICKEY:
        done, method = method, done
    return f"{done}+{method}"


def remaining_methods(
    account: Account, done: str = "", *, protocol: Protocol | str = Protocol.SSH
) -> tuple[str, ...]:
    """Method names that may follow.

    Args:
        account: who logs in.
        protocol: by which door; steps are a matter of SSH, and elsewhere of TLS certificates, which a
            password follows if it is denied that they log in alone.
        done: the first step that was accepted; empty if nothing was yet.

    Returns:
        with `done` empty what may be tried first; else what has to follow `done`, nothing if `done` is no
        first step. In the order in which they are best offered.
    """
    if family_of(protocol) != "SSH":
        denied = account.filters.denied_login_methods
        more = done == CERTIFICATE and CERTIFICATE in denied and CERTIFICATE_AND_PASSWORD not in denied
        return (PASSWORD,) if more else ()
    two = wants_two_steps(account)
    if not done:
        if two:
            return (PUBLICKEY,)
        return tuple(m for m in _SSH_SINGLE if denied_by(account, m, Protocol.SSH) is None)
    if not two or done != PUBLICKEY:
        return ()
    return tuple(
        m for m in (PASSWORD, KEYBOARD) if denied_by(account, combined(done, m), Protocol.SSH) is None
    )


def uses_password(method: str) -> bool:
    """True if a method rests on the account's password, alone or as one of two steps."""
    return bool({PASSWORD, PASSWORD_OVER_SSH, KEYBOARD} & set(method.split("+")))
