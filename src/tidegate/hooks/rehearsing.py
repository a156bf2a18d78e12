# SPDX-License-Identifier: Apache-2.0
"""Hooks of one login as `explain` shows them: who would be asked, and the answers; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord, OutsideFailed
from tidegate.hooks.asking import Asker, Question, Reply, read_object
from tidegate.hooks.documents import switched_off
from tidegate.hooks.merging import cleaned, merged
from tidegate.hooks.payloads import external_question, password_question, pre_login_question
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.model import Account, Peer
from tidegate.store.documents import decode_account, encode_account

PASSWORD: Final = "password"  # noqa: S105  the name of a method
KEYBOARD: Final = "keyboard-interactive"


@dataclass(frozen=True, slots=True)
class Asked:
    """One hook of a login.

    Attributes:
        hook: which.
        answer: what it answered, in one line; empty if it was not asked.
        refuses: the login ends by it.
        account: the account after it, None if it says nothing about it.
    """

    hook: Hook
    answer: str = ""
    refuses: bool = False
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class HookAnswers:
    """The hooks of a login.

    Attributes:
        asked: in their order.
        account: the account after them, None if nobody knows the user.
    """

    asked: Sequence[Asked]
    account: Account | None

    @property
    def refused(self) -> bool:
        """True if one of them refuses."""
        return any(one.refuses for one in self.asked)

    @property
    def text(self) -> str:
        """A line for each."""
        from tidegate.policy.explain import safe

        return "".join(
            f"hook {one.hook.name}: {one.hook.shown}{': ' if one.answer else ''}{safe(one.answer)}\n"
            for one in self.asked
        )

    @property
    def documents(self) -> list[dict[str, object]]:
        """The same as values of JSON."""
        return [
            {
                "hook": one.hook.name,
                "key": one.hook.key,
                "target": one.hook.shown,
                "answer": one.answer,
                "refuses": one.refuses,
            }
            for one in self.asked
        ]

    @property
    def unknown(self) -> str:
        """The end of the message that there is no such user."""
        if any(one.answer for one in self.asked):
            return "; " + "; ".join(f"{one.hook.key} {one.answer}" for one in self.asked if one.answer)
        asked = [one.hook.key for one in self.asked if one.hook.name in ("external_auth", "pre_login")]
        return f"; {asked[0]} may know them: --ask asks it" if asked else ""


def hooks_of(settings: HookSettings, account: Account | None, method: str, family: str) -> list[Hook]:
    """The hooks that a login meets, in their order.

    Args:
        settings: all hooks.
        account: the stored account, None for a user who is not known.
        method: ``password``, ``publickey``, ``keyboard-interactive`` or ``TLSCertificate``.
        family: of the door.
    """
    found: list[Hook | None] = [settings.post_connect]
    questions = settings.keyboard_interactive if method == KEYBOARD and family == "SSH" else None
    external = settings.external_for(method, asks_questions=questions is not None)
    if external is not None and not switched_off(account, "external_auth"):
        found.append(external)
    elif not switched_off(account, "pre_login"):
        before = settings.pre_login
        found.append(None if before is not None and before.old and account is None else before)
    if questions is not None:
        found.append(questions)
    elif method in (PASSWORD, KEYBOARD) and not switched_off(account, "check_password"):
        found.append(settings.check_password_for(family))
    return [hook for hook in found if hook is not None]


async def ask_hooks(
    hooks: list[Hook],
    asker: Asker,
    rules: Rules,
    *,
    peer: Peer,
    username: str,
    account: Account | None,
    secret: str,
) -> list[Asked]:
    """Ask the hooks of a login until one refuses. Nothing that they answer is stored.

    Hooks about connections and those that ask questions are named and not asked.

    Args:
        hooks: of `hooks_of`.
        asker: asks them.
        rules: what a valid account is.
        peer: where the login comes from.
        username: that is typed.
        account: the stored account.
        secret: the password.
    """
    answers: list[Asked] = []
    for hook in hooks:
        question = _question(hook, username, account, peer, secret)
        if question is None:
            answers.append(Asked(hook))
            continue
        try:
            reply = await asker.ask(hook, question)
            asked = _read(hook, reply, rules, username, account)
        except OutsideFailed as error:
            asked = Asked(hook, f"failed: {error.detail}", refuses=True)
        except BadRecord as error:
            asked = Asked(hook, f"answered a user that is not valid: {error}", refuses=True)
        answers.append(asked)
        if asked.refuses:
            break
        account = asked.account or account
    return answers


def _question(hook: Hook, username: str, account: Account | None, peer: Peer, secret: str) -> Question | None:
    match hook.name:
        case "external_auth":
            return external_question(username, account, peer, secret=secret)
        case "pre_login":
            return pre_login_question(username, account, peer, PASSWORD, old=hook.old)
        case "check_password":
            return password_question(username, secret, peer)
    return None


def _read(hook: Hook, reply: Reply, rules: Rules, username: str, account: Account | None) -> Asked:
    if hook.name == "pre_login" and reply.status == 204:
        return Asked(hook, "answered: no change")
    if not reply.ok:
        return Asked(hook, reply.problem, refuses=True)
    body = reply.body.strip()
    if hook.name == "check_password":
        status = read_object(hook, body).get("status", 0)
        words = {
            1: "the password is right",
            2: "a part of it is to be checked",
            -1: "the stored hash decides",
        }
        known = words.get(status) if type(status) is int else None
        return Asked(hook, f"answered: {known or 'refused'}", refuses=known is None)
    if not body:
        refuses = hook.name == "external_auth" and (hook.old or account is None)
        return Asked(hook, "answered nothing: " + ("refused" if refuses else "no change"), refuses=refuses)
    document = cleaned(read_object(hook, body))
    if hook.name == "external_auth":
        if not document.get("username"):
            return Asked(hook, "answered: refused", refuses=True)
        same = account is not None and document["username"] == account.username
        found = decode_account(document, base=account if same else None, rules=rules)
        return Asked(hook, f"answered: it is user {found.username!r}", account=found)
    document.setdefault("username", username)
    base = encode_account(account, confidential=False) if account is not None else {}
    found = decode_account(merged(base, document), base=account, rules=rules)
    if found.username != username:
        return Asked(hook, f"answered another name, {found.username!r}: refused", refuses=True)
    if account is not None:
        found = replace(found, id=account.id)
    return Asked(
        hook, f"answered: changes {', '.join(sorted({*document} - {'username'})) or 'nothing'}", account=found
    )
