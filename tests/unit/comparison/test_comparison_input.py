# SPDX-License-Identifier: Apache-2.0
"""Input of a comparison by an operator: names and passwords of all kinds, none of which ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.comparison.client import Server, ask
from tidegate.comparison.credentials import Credential, read_credentials


@pytest.mark.parametrize("name", ["b\U0001fae8b", "\u0627a"])
async def test_a_name_that_ssh_cannot_send_is_an_answer(name: str) -> None:
    answer = await ask(Server("127.0.0.1", 1, host_keys=("SHA256:x",)), Credential(name, "password"))
    assert answer.login is None
    assert "character" in answer.why


def test_passwords_are_taken_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    passwords = ["a\u2028b", "a\x0cb", "a\x85b", " a:b "]
    path.write_bytes("".join(f"ana:{one}\r\n" for one in passwords).encode())
    path.chmod(0o600)
    assert [one.password for one in read_credentials(path)] == passwords
