# SPDX-License-Identifier: Apache-2.0
"""The hooks of a server, their scopes, and the rules of the era that each is written for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.outgoing.commands import USUAL_SECONDS
from tidegate.outgoing.http import shown

OLD_SECONDS: Final = 60.0
"""Of a program of SFTPGo 0.9, and of one that asks questions."""
NOTICE_SECONDS: Final = 20.0
"""Of a program that is told of something, or asked about a connection."""

EXTERNAL_AUTH: Final = "external_auth"
PRE_LOGIN: Final = "pre_login"
CHECK_PASSWORD: Final = "check_password"  # noqa: S105  the name of a hook
KEYBOARD_INTERACTIVE: Final = "keyboard_interactive"
POST_LOGIN: Final = "post_login"
POST_CONNECT: Final = "post_connect"
POST_DISCONNECT: Final = "post_disconnect"
STARTUP: Final = "startup"

PASSWORDS, PUBLIC_KEYS, QUESTIONS, CERTIFICATES = 1, 2, 4, 8
"""Bits of the scope of external authentication."""
_BITS: Final = {
    "password": PASSWORDS,
    "publickey": PUBLIC_KEYS,
    "keyboard-interactive": QUESTIONS,
    "TLSCertificate": CERTIFICATES,
}
FAMILY_BITS: Final = {"SSH": 1, "FTP": 2, "DAV": 4, "HTTP": 8}
"""Bits of the scope of checked passwords."""
FAILED, ACCEPTED = 1, 2
"""Scopes of notices of logins; 0 is both."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook.

    Attributes:
        name: word of SFTPGo's for it, as in `command.commands[].hook`.
        target: absolute path of a program, or a URL.
        key: key of the configuration, for messages and rules.
        seconds: most that a program may take if nobody chose a time.
        old: by the rules of SFTPGo 0.9.
    """

    name: str
    target: str
    key: str
    seconds: float = USUAL_SECONDS
    old: bool = False

    @property
    def is_http(self) -> bool:
        """True if the target is a URL."""
        return self.target.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """The target without secrets."""
        return shown(self.target) if self.is_http else self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """All hooks; None is off.

    Attributes:
        external_scope: sum of `PASSWORDS`, `PUBLIC_KEYS`, `QUESTIONS`, `CERTIFICATES`; 0 all.
        password_scope: sum of `FAMILY_BITS`; 0 all.
        login_scope: 0 all, `FAILED` or `ACCEPTED`.
        store_accounts: keep accounts that external authentication answers.
        at_once: calls under way, of each kind that waits for its answer.
        waiting: calls that wait, likewise.
    """

    external_auth: Hook | None = None
    external_scope: int = 0
    pre_login: Hook | None = None
    check_password: Hook | None = None
    password_scope: int = 0
    keyboard_interactive: Hook | None = None
    post_login: Hook | None = None
    login_scope: int = 0
    post_connect: Hook | None = None
    post_disconnect: Hook | None = None
    startup: Hook | None = None
    store_accounts: bool = True
    at_once: int = 16
    waiting: int = 256

    @property
    def all(self) -> tuple[Hook, ...]:
        """Those that are on, in the order in which a connection meets them."""
        found = (
            self.startup,
            self.post_connect,
            self.external_auth,
            self.pre_login,
            self.keyboard_interactive,
            self.check_password,
            self.post_login,
            self.post_disconnect,
        )
        return tuple(hook for hook in found if hook is not None)

    @property
    def decides_logins(self) -> bool:
        """True if a connection or a login is other than without hooks."""
        deciding = (
            self.post_connect,
            self.external_auth,
            self.pre_login,
            self.check_password,
            self.keyboard_interactive,
        )
        return any(hook is not None for hook in deciding)

    def external_for(self, kind: str, *, asks_questions: bool) -> Hook | None:
        """External authentication, if it is asked about a kind of credential.

        Args:
            kind: ``password``, ``publickey``, ``keyboard-interactive`` or ``TLSCertificate``.
            asks_questions: a hook asks the questions of ``keyboard-interactive``. Without one the only answer
                is a password, and counts as one.
        """
        hook, scope = self.external_auth, self.external_scope
        if hook is None or not scope:
            return hook
        bit = _BITS.get(kind, 0)
        if bit == QUESTIONS and not asks_questions:
            bit = PASSWORDS
        return hook if scope & bit else None

    def check_password_for(self, family: str) -> Hook | None:
        """The hook that checks passwords, if it is asked at a door."""
        scope = self.password_scope
        return self.check_password if not scope or scope & FAMILY_BITS.get(family, 0) else None


NO_HOOKS: Final = HookSettings()
