# SPDX-License-Identifier: Apache-2.0
"""Rules for names, keys, homes and administrators, and that each door asks them."""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.accounts import ED25519
from tests.support.command_line import Result, tidegate
from tests.support.loading import load_file

from tidegate.accounts.administrators import is_owner
from tidegate.accounts.directories import never_given
from tidegate.accounts.keys import parse_public_key
from tidegate.accounts.names import (
    MAX_TYPED_CHARS,
    UNREADABLE,
    check_name,
    fold_name,
    login_name,
    typed_name,
)
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord
from tidegate.model import Admin
from tidegate.store.contract import Provider, Snapshot
from tidegate.store.documents import decode_account, decode_folder
from tidegate.store.factory import create_provider
from tidegate.store.imports.common import Harvest
from tidegate.store.options import ProviderOptions

LEAST: dict[str, Any] = {"username": "ana", "home_dir": "/srv/ana", "permissions": {"/": ["*"]}}

# --- names ------------------------------------------------------------------------------------------------


@given(st.text(max_size=60), st.integers(0, 7))
@example("a😀", 1)
@example("zoe\u0308", 1)
@example("\ufb01le", 1)
@example("\u05d0b", 1)
@example("\u212bngstr\u00f6m", 3)
def test_every_name_that_can_be_made_can_log_in(text: str, naming_rules: int):
    rules = Rules(naming_rules=naming_rules)
    name = fold_name(text, rules)
    try:
        check_name("username", name, rules)
    except BadRecord:
        return
    assert login_name(typed_name(text.encode()), naming_rules) == name
    decomposed = unicodedata.normalize("NFD", name).encode()  # as some systems type it
    assert login_name(typed_name(decomposed), naming_rules) == name
    assert fold_name(name, rules) == name


@given(st.binary(max_size=5000))
def test_no_login_name_is_too_odd(raw: bytes):
    text = typed_name(raw)
    assert text == UNREADABLE or text.encode() == raw
    assert login_name(text, 1) is None or len(text) <= 1024


def test_the_longest_name_that_is_read():
    longest = b"x" * (4 * MAX_TYPED_CHARS)
    assert typed_name(longest) == longest.decode()
    assert typed_name(longest + b"x") == UNREADABLE


def test_what_stands_for_an_unreadable_name_is_nobodys():
    assert typed_name(b"\xff") == typed_name(b"a" * 5000) == UNREADABLE
    with pytest.raises(BadRecord):
        check_name("username", UNREADABLE)


# --- keys -------------------------------------------------------------------------------------------------


def _line(kind: bytes, *fields: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(field)) + field for field in (kind, *fields))
    return f"{kind.decode()} {base64.b64encode(blob).decode()}"


DSA = _line(b"ssh-dss", b"\1", b"\1", b"\1", b"\1")
RFC4716 = (
    '---- BEGIN SSH2 PUBLIC KEY ----\nComment: "tide"\n'
    + ED25519.split()[1]
    + "\n---- END SSH2 PUBLIC KEY ----\n"
)
PUTTY = (
    "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: tide\nPublic-Lines: 1\n"
    + ED25519.split()[1]
    + "\n"
)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "id.pub"
    path.write_text(_ecdsa(path.parent))
    shown = subprocess.run(
        ["ssh-keygen", "-e", "-m", "PKCS8", "-f", path],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return shown.stdout


def _ecdsa(directory: Path) -> str:
    private = directory / "private"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ecdsa", "-f", private], check=True, timeout=10)
    return private.with_name("private.pub").read_text()


async def test_every_form_of_a_key_is_stored_as_its_line_at_every_door(pem: str, tmp_path: Path):
    for form in (ED25519, RFC4716, PUTTY, pem, RFC4716.replace("\n", "\r\n")):
        line = parse_public_key(form)
        document = {**LEAST, "public_keys": [form]}
        assert decode_account(document).public_keys == (line,)  # REST, --document
        harvest = Harvest()
        harvest.add("x:1", decode_account(document), set(), [], Rules())
        assert harvest.accounts[0].account.public_keys == (line,)
        provider = await memory()
        await load_file(provider, io.BytesIO(json.dumps({"users": [document]}).encode()))
        assert (await provider.user("ana")).public_keys == (line,)


async def test_keys_that_may_not_log_in_are_left_out_of_a_dump_with_a_note():
    narrowed = f'from="10.0.0.1" {ED25519}'
    document = {"tidegate": 1, "users": [{**LEAST, "public_keys": [DSA, ED25519, narrowed]}]}
    with pytest.raises(BadRecord) as caught:
        decode_account(document["users"][0])
    assert (caught.value.field, "DSA" in caught.value.what) == ("public_keys[0]", True)
    provider = await memory()
    report = await load_file(provider, io.BytesIO(json.dumps(document).encode()))
    assert (await provider.user("ana")).public_keys == (ED25519,)
    kept = [note.split(": ")[:2] for note in report.notes if "left out" in note]
    assert kept == [["users[0] (ana)", "public_keys[0]"], ["users[0] (ana)", "public_keys[2]"]]
    document["users"][0]["public_keys"] = [f"{ED25519[:40]}"]
    with pytest.raises(BadRecord) as caught:  # a broken one is a mistake
        await load_file(provider, io.BytesIO(json.dumps(document).encode()))
    assert caught.value.field == "users[0].public_keys[0]"


@pytest.mark.parametrize(("lines", "whole"), [(2, True), (3, False)])
def test_a_putty_file_has_the_lines_that_it_announces(lines: int, whole: bool):
    blob = ED25519.split()[1]
    text = (
        f"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: mine\nPublic-Lines: {lines}\n"
        f"{blob[:40]}\n{blob[40:]}\n"
    )
    if whole:
        assert parse_public_key(text) == f"ssh-ed25519 {blob} mine"
    else:
        with pytest.raises(BadRecord, match="without its Public-Lines"):
            parse_public_key(text)


def test_keys_that_are_stored_stay():
    base = decode_account(LEAST)
    from dataclasses import replace

    old = replace(base, public_keys=(DSA,))
    assert decode_account({"public_keys": [DSA, RFC4716]}, base=old).public_keys == (
        DSA,
        parse_public_key(RFC4716),
    )


# --- homes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "given_out"),
    [
        ("/", False),
        ("/srv", False),
        ("/srv/gate", False),
        ("/srv/gate/", False),
        ("/srv/x/../gate", False),
        ("/srv/gate/backups", False),
        ("/srv/gate/files", False),
        ("/srv/gate/homes", False),
        ("/srv/gate/files/u", True),
        ("/srv/gate/homes/u", True),
        ("/srv/gate/homesick/u", False),
        ("/srv/gateway", True),
        ("/home/u", True),
    ],
)
def test_what_nobody_gives_out(path: str, given_out: bool):
    assert (never_given(path, base="/srv/gate/homes", server_dir="/srv/gate") is None) == given_out


async def test_homes_are_refused_at_every_door(tmp_path: Path):
    rules = Rules(server_dir=str(tmp_path / "gate"))
    for home in ("/", str(tmp_path), str(tmp_path / "gate"), str(tmp_path / "gate" / "x")):
        for decode, document, field in (
            (decode_account, {**LEAST, "home_dir": home}, "home_dir"),
            (decode_folder, {"name": "f", "mapped_path": home}, "mapped_path"),
            (
                decode_account,
                {**LEAST, "virtual_folders": [{"name": "f", "virtual_path": "/f", "mapped_path": home}]},
                "virtual_folders[0].mapped_path",
            ),
        ):
            with pytest.raises(BadRecord) as caught:
                decode(document, rules=rules)
            assert caught.value.field == field
        old = decode_account({**LEAST, "home_dir": home})
        assert decode_account({"email": "a@b", "home_dir": home}, base=old, rules=rules).home_dir == home
        harvest = Harvest()
        harvest.add("passwd:1", old, set(), [], rules)
        assert harvest.accounts == []
        assert harvest.problems[0].field == "passwd:1"
        # a dump gives back what was there, and says so
        provider = await memory()
        text = json.dumps({"tidegate": 1, "users": [{**LEAST, "home_dir": home}]}).encode()
        report = await load_file(provider, io.BytesIO(text), rules=rules)
        assert (await provider.user("ana")).home_dir == home
        assert any("home_dir: restored as it was, but " in note for note in report.notes)


def test_homes_from_the_command_line(tmp_path: Path):
    config = tmp_path / "gate"
    config.mkdir()

    def user(*words: str) -> Result:
        return tidegate("user", *words, "--config-dir", config, stdin="a password\n")

    assert tidegate("initprovider", "--config-dir", config).code == 0
    link = tmp_path / "link"
    link.symlink_to(config)
    for home in (
        "",
        "rel",
        ".",
        "/",
        str(tmp_path),
        str(config),
        str(config / "x"),
        str(link),
        "~nobody-of-this-name",
    ):
        result = user("add", "ana", "--home", home, "--password-stdin")
        assert (result.code, result.err.count("\n")) == (1, 1), (home, result.err)
        assert "home" in result.err
    assert user("add", "ana", "--password-stdin").code == 0  # files/ana
    assert user("set", "ana", "--home", str(tmp_path)).code == 1
    assert user("set", "ana", "--home", str(tmp_path / "ana"), "--email", "a@b").code == 0
    document = config / "d.json"
    document.write_text(json.dumps({"home_dir": "/"}))
    assert user("set", "ana", "--document", str(document)).code == 1
    assert tidegate("folder", "add", "f", link, "--config-dir", config).code == 1
    assert tidegate("folder", "list", "--json", "--config-dir", config).json == []
    assert user("show", "ana", "--json").json["home_dir"] == str(tmp_path / "ana")


# --- the last administrator -------------------------------------------------------------------------------


async def memory() -> Provider:
    provider = create_provider(ProviderOptions(driver="memory", name=""))
    await provider.open()
    return provider


async def owners(provider: Provider) -> set[str]:
    return {admin.username for admin in await provider.admins() if is_owner(admin)}


def admin(name: str, *permissions: str, status: int = 1) -> Admin:
    return Admin(username=name, password="$1$x", permissions=permissions or ("*",), status=status)


@pytest.mark.parametrize("change", [{"status": 0}, {"permissions": ["view_users"]}])
async def test_a_load_leaves_an_owner(change: dict[str, Any]):
    provider = await memory()
    await provider.load(Snapshot(admins=[admin("boss"), admin("off", status=0), admin("half", "view_users")]))
    stripped = {"username": "boss", "permissions": ["*"], **change}

    async def load(*admins: dict[str, Any], mode: int = 0) -> None:
        await load_file(provider, io.BytesIO(json.dumps({"admins": admins}).encode()), mode=mode)

    with pytest.raises(BadRecord, match="admins: no enabled administrator"):
        await load(stripped)
    assert await owners(provider) == {"boss"}
    await load(stripped, mode=1)  # leaves those that are there
    assert await owners(provider) == {"boss"}
    with pytest.raises(BadRecord):
        await load(
            {"username": "new", "permissions": ["*"]},
            stripped,
            {"username": "new", **change, "permissions": ["view_users"]},
        )
    await load(stripped, {"username": "new", "permissions": ["*"]})
    assert await owners(provider) == {"new"}


async def test_without_an_owner_a_load_need_not_bring_one():
    provider = await memory()
    await load_file(provider, io.BytesIO(b'{"admins":[{"username":"half","permissions":["view_users"]}]}'))
    assert await owners(provider) == set()


def test_the_last_owner_is_not_deleted_from_the_command_line(tmp_path: Path):
    def admins(*words: str) -> Result:
        return tidegate("admin", *words, "--config-dir", tmp_path, stdin="a long password\n")

    assert tidegate("initprovider", "--config-dir", tmp_path).code == 0
    assert admins("add", "boss", "--password-stdin").code == 0
    assert admins("add", "half", "-g", "view_users", "--password-stdin").code == 0
    refused = admins("del", "boss", "--yes")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "boss is the last enabled administrator with all permissions" in refused.err
    assert admins("add", "second", "--password-stdin").code == 0
    assert admins("del", "boss", "--yes").code == 0
    assert admins("del", "half", "--yes").code == 0
    assert [one["username"] for one in admins("list", "--json").json] == ["second"]
