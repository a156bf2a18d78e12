# SPDX-License-Identifier: Apache-2.0
"""``tidegate admin passkeys``: an administrator who has lost theirs, seen from the server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.support.command_line import process

from tidegate.policy.passkeys import Passkey, Passkeys, document_of
from tidegate.store.factory import ProviderOptions, create_provider


async def give_passkeys(home: Path, *names: str) -> None:
    """Passkeys as the pages store them; the commands look at no key."""
    provider = create_provider(ProviderOptions(driver="sqlite", base_dir=home, name="tidegate.db"))
    await provider.open()
    try:
        boss = await provider.admin("boss")
        assert boss is not None
        keys = tuple(
            Passkey(id=f"id-{name}", name=name, public_key="AA", rp_id="example.org", created_at=1)
            for name in names
        )
        extra = {
            "passkeys": document_of(Passkeys(handle="AA", keys=keys)),
            "recovery_codes": [{"secret": "x"}],
        }
        await provider.update_admin(replace(boss, filters=replace(boss.filters, extra=extra)))
    finally:
        await provider.close()


def test_passkeys_are_listed_and_removed(tmp_path: Path) -> None:
    def admin(*args: str, stdin: str = "") -> str:
        done = process("admin", *args, "-c", tmp_path, stdin=stdin)
        assert done.code == 0, done
        return done.out

    admin("add", "boss", "--password-stdin", "--create", stdin="the boss's long password")
    assert admin("passkeys", "boss") == "boss has no passkeys\n"
    asyncio.run(give_passkeys(tmp_path, "blue stick", "phone"))
    listed = admin("passkeys", "boss")
    assert "blue stick" in listed and "example.org" in listed and "never" in listed and "id-phone" in listed
    assert "id-phone" not in admin("passkeys", "boss", "--remove", "id-phone")
    again = process("admin", "passkeys", "boss", "--remove", "id-phone", "-c", tmp_path)
    assert (again.code, "no such passkey of boss: id-phone" in again.err) == (1, True)
    both = process("admin", "passkeys", "boss", "--remove", "x", "--remove-all", "-c", tmp_path)
    assert (both.code, "--remove-all: not together with --remove" in both.err) == (1, True)
    assert admin("passkeys", "boss", "--remove-all", "--json") == "[]\n"
    assert "recovery_codes" not in admin("show", "boss", "--json")
