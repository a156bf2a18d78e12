# SPDX-License-Identifier: Apache-2.0
"""Whole dumps of five eras: who comes in after the move, beside what SFTPGo itself answered.

Hashes are computed only where SFTPGo refused the password (`test_identity_passwords` does the rest); for
others a password is right if it is the one that the made-up credentials name.
"""

from __future__ import annotations

import functools
import json
from collections import Counter

import pytest
from tests.support.moved import DUMPS, Moved, move
from tests.support.people import CHEAP, People, peer

from tidegate.abc import Credential
from tidegate.accounts.keys import key_blob
from tidegate.errors import LoginRefused
from tidegate.identity import passwords
from tidegate.identity.api import PartialLogin
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.model import Principal

ANSWERS = json.loads((DUMPS / "logins-answered-by-sftpgo.json").read_text())
PASSWORDS = {
    era: found["passwords"]
    for era, found in json.loads((DUMPS / "credentials-made-up.json").read_text()).items()
}
RECORDED = 1_795_891_227.0
"""Saturday evening, when the answers were recorded (Unix seconds)."""
WAYS = {
    "pw": ("password",),
    "kbd": ("keyboard-interactive",),
    "key": ("publickey",),
    "key+pw": ("publickey", "password"),
    "key+kbd": ("publickey", "keyboard-interactive"),
}
OPENER = {
    "2.7.5": {
        "h-sha512c-r": "$6$rounds= is read here",
        "h-yes": "yescrypt is read here",
        "emoji😀": "recorded as refused, and nothing in the account says why",
    },
}
"""Accounts that get in here and not at SFTPGo, with the reason: a hash that it cannot read."""
STRICTER = {
    "2.7.5": {
        "totp-ssh": "a code follows every password here, not only the one in keyboard-interactive",
    },
    "0.9.6": {},
    "1.2.2": {},
    "2.0.4": {},
    "2.4.5": {},
}
"""Accounts that get in at SFTPGo and not here, with the reason; docs/how_to/move-from-sftpgo.md lists them."""


async def comes_in(identity: Identity, name: str, kinds: tuple[str, ...], password: str, key: bytes) -> bool:
    """As a client that offers these methods, each once more if a second step is asked for."""
    after: PartialLogin | None = None
    for kind in (*kinds, *kinds):
        credential = Credential(kind, public_key=key) if kind == "publickey" else Credential(kind, password)
        try:
            outcome = await identity.authenticate(peer(ip="127.0.0.1"), name, credential, after=after)
        except LoginRefused:
            continue
        if isinstance(outcome, Principal):
            return True
        after = outcome
    return False


def client_key(moved: Moved) -> bytes:
    """The key that the recorded client used: the one that most accounts hold."""
    lines = Counter(" ".join(line.split()[:2]) for user in moved.users.values() for line in user.public_keys)
    return key_blob(lines.most_common(1)[0][0])


@pytest.mark.parametrize("era", list(ANSWERS))
async def test_nobody_comes_in_whom_sftpgo_refused_and_who_came_in_still_does(era: str) -> None:
    moved = await move(f"whole-{era}", leave_out=True)
    secrets = {user.password: PASSWORDS[era].get(name) for name, user in moved.users.items() if user.password}
    doubted = {
        user.password for name, user in moved.users.items() if ANSWERS[era].get(name, {}).get("pw") == "no"
    }

    @functools.cache  # each account is asked for in seven ways, and its hash is the expensive kind
    def check(password: str, stored: str) -> bool:
        right = bool(password) and secrets.get(stored) == password
        return right and (stored not in doubted or passwords.check(password, stored))

    people = People(*moved.stored.values())
    people.groups = moved.groups
    identity = Identity(
        people,  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP, naming_rules=1, password_caching=False, upgrade_hashes=False),
        clock=lambda: RECORDED,
        check=check,
    )
    key = client_key(moved)
    opened: list[str] = []
    shut: set[str] = set()
    asked = 0
    for name, answers in ANSWERS[era].items():
        if name not in moved.users:
            continue
        right = PASSWORDS[era].get(name) or ""
        for way, kinds in WAYS.items():
            here = await comes_in(identity, name, kinds, right, key)
            there = answers[way] != "no"
            asked += 1
            if here and not there and name not in OPENER.get(era, {}):
                opened.append(f"{name} {way}")
            if there and not here:
                shut.add(name)
        by_key = await comes_in(identity, name, ("publickey", "password"), "wrong", key)
        if by_key and answers["key+wrongpw"] == "no":
            opened.append(f"{name} key+wrongpw")
    await identity.close()

    assert asked > 4 * len(moved.users)
    assert not opened, "\n".join(opened)
    assert shut == set(STRICTER[era])


async def test_a_bare_list_of_users_is_refused_with_the_reason() -> None:
    with pytest.raises(Exception, match="a dump must be a JSON object; a list as GET /api/v1/user"):
        await move("whole-0.9.4")
