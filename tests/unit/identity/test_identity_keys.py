# SPDX-License-Identifier: Apache-2.0
"""Public keys of ssh-keygen, puttygen and openssl in every form, and what is refused."""

from __future__ import annotations

import base64
import struct
import subprocess
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.accounts.keys import fingerprint, key_blob, parse_public_key, parse_public_keys
from tidegate.errors import BadRecord

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU"
PPK = """PuTTY-User-Key-File-{version}: ssh-ed25519
Encryption: none
Comment: putty alice
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9D
LGLU
"""
KINDS = ["ed25519", "rsa:2048", "ecdsa:256", "ecdsa:384", "ecdsa:521"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Public key files as ssh-keygen writes them, by kind."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for kind in [*KINDS, "rsa:1024"]:
        name, _, bits = kind.partition(":")
        path = folder / kind.replace(":", "")
        size = ["-b", bits] if bits else []
        subprocess.run(
            ["ssh-keygen", "-q", "-N", "", "-C", "alice@example", "-t", name, *size, "-f", path],
            check=True,
            timeout=30,
        )
        made[kind] = path.with_name(path.name + ".pub")
    return made


def _exported(path: Path, form: str) -> str:
    return subprocess.run(
        ["ssh-keygen", "-e", "-m", form, "-f", path], capture_output=True, text=True, check=True, timeout=10
    ).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_openssh_line_stays_as_it_is(kind: str, keys: dict[str, Path]) -> None:
    text = keys[kind].read_text()
    assert parse_public_key(text) == text.strip()


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_forms_give_the_same_key(kind: str, form: str, keys: dict[str, Path]) -> None:
    if form != "RFC4716" and kind == "ed25519":
        key = asyncssh.read_public_key(keys[kind])
        text = key.export_public_key("pkcs8-pem").decode()
    else:
        text = _exported(keys[kind], form)
    line = parse_public_key(text.replace("\n", "\r\n"))
    assert key_blob(line) == key_blob(keys[kind].read_text())
    assert line.split()[0] == keys[kind].read_text().split()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_is_the_one_of_ssh_keygen(kind: str, keys: dict[str, Path]) -> None:
    printed = subprocess.run(
        ["ssh-keygen", "-lf", keys[kind]], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    assert fingerprint(keys[kind].read_text()) == printed.split()[1]


@pytest.mark.needs("puttygen")
def test_what_puttygen_exports_is_accepted(tmp_path: Path, keys: dict[str, Path]) -> None:
    private = keys["rsa:2048"].with_suffix("")
    for form in ("public", "public-openssh"):
        target = tmp_path / form
        subprocess.run(["puttygen", private, "-O", form, "-o", target], check=True, timeout=10)
        assert key_blob(parse_public_key(target.read_text())) == key_blob(keys["rsa:2048"].read_text())


@pytest.mark.parametrize("version", [2, 3])
def test_public_part_of_a_putty_key_file(version: int) -> None:
    assert parse_public_key(PPK.format(version=version)) == ED25519 + " putty alice"


def test_putty_key_file_with_its_private_part_is_refused() -> None:
    with pytest.raises(BadRecord, match="private key"):
        parse_public_key(PPK.format(version=3) + "Private-Lines: 1\nAAAA\nPrivate-MAC: 00\n")


@pytest.mark.parametrize("form", ["PEM", "PKCS8", "RFC4716"])
def test_private_keys_are_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-t", "ecdsa", "-m", form, "-f", path], check=True, timeout=10
    )
    with pytest.raises(BadRecord, match="private key"):
        parse_public_key(path.read_text())


def test_weak_rsa_is_refused_with_its_size(keys: dict[str, Path]) -> None:
    for text in (keys["rsa:1024"].read_text(), _exported(keys["rsa:1024"], "PKCS8")):
        with pytest.raises(BadRecord, match="RSA key of 1024 bits; 2048 to 16384 are accepted"):
            parse_public_key(text)


def _line(*fields: bytes, name: str = "") -> str:
    blob = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return f"{name or fields[0].decode()} {base64.b64encode(blob).decode()}"


POINT = base64.b64decode(
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU="
)
SK_ED = _line(b"sk-ssh-ed25519@openssh.com", b"\1" * 32, b"ssh:")
SK_EC = _line(b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", POINT, b"ssh:")


@pytest.mark.parametrize("line", [SK_ED, SK_EC, _line(b"ssh-ed448", b"\1" * 57)])
def test_security_keys_and_ed448_are_accepted(line: str) -> None:
    assert parse_public_key(line + " yubi") == line + " yubi"


def test_rsa_numbers_are_made_canonical() -> None:
    modulus = ((1 << 2047) | 1).to_bytes(256, "big")
    padded, plain = (
        _line(b"ssh-rsa", b"\0\0\1\0\1", b"\0\0\0" + modulus),
        _line(b"ssh-rsa", b"\1\0\1", b"\0" + modulus),
    )
    assert parse_public_key(padded) == plain


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "no key"),
        ("# only a comment", "no key"),
        ("hello", "neither"),
        ("ssh-ed25519", "ends after its type"),
        ("ssh-ed25519 !!!", "base64"),
        ("ssh-ed25519 AAAA", "cut short"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0", "cut short"),
        (_line(b"ssh-ed25519", b"\1" * 31), "malformed ssh-ed25519"),
        (_line(b"ssh-ed25519", b"\1" * 32, b"more"), "malformed ssh-ed25519"),
        (_line(b"ssh-ed25519", b"\1" * 32, name="ssh-rsa"), "says 'ssh-rsa'"),
        (_line(b"ssh-dss", b"\1", b"\1", b"\1", b"\1"), "DSA"),
        (_line(b"ssh-rsa", b"\1", b"\0" + b"\xff" * 256), "malformed ssh-rsa"),
        (_line(b"ssh-rsa", b"\1\0\1", b"\xff" * 256), "RSA key of"),
        (_line(b"ssh-rsa", b"\1\0\1", b"\0\xff" + b"\1" * 3000), "16384"),
        (_line(b"ecdsa-sha2-nistp256", b"nistp256", b"\4" + b"\1" * 64), "not a point"),
        (_line(b"ecdsa-sha2-nistp256", b"nistp384", POINT), "malformed ecdsa"),
        (_line(b"ecdsa-sha2-nistp256", b"nistp256", b"\2" + POINT[1:33]), "malformed ecdsa"),
        (_line(b"ssh-ed25519-cert-v01@openssh.com", b"\1"), "certificate"),
        (_line(b"ssh-unknown", b"\1", name="ssh-ed25519"), "unknown key type"),
        (f"ssh-ed25519 {'A' * 20000}", "longer than"),
        ('from="10.0.0.0/8" ' + ED25519, "option 'from'"),
        ('no-pty,command="a b, c" ' + ED25519, "option 'command'"),
        ("cert-authority " + ED25519, "option 'cert-authority'"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "malformed PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "'CERTIFICATE' block"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "neither"),
        ("PuTTY-User-Key-File-1: ssh-rsa\nPublic-Lines: 1\nAAAA", "unknown version"),
        ("PuTTY-User-Key-File-3: ssh-rsa\nPublic-Lines: 99\nAAAA", "Public-Lines"),
        (ED25519 + "\n" + SK_ED, "found 2"),
        (ED25519 + "\n" + "x" * 300_000, "longer than"),
    ],
)  # fmt: skip
def test_refused_with_a_reason(line: str, why: str) -> None:
    with pytest.raises(BadRecord, match=why) as caught:
        parse_public_key(line)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("marker", ["@revoked", "@cert-authority"])
def test_markers_of_known_hosts_are_refused(marker: str) -> None:
    """A key that a line calls revoked must not become one that logs in, or an authority."""
    for text in (f"{marker} {ED25519}", f"{ED25519}\n{marker} {SK_ED}\n"):
        with pytest.raises(BadRecord, match=f"'{marker}' is a marker of known_hosts"):
            parse_public_keys(text)


def test_harmless_options_are_dropped_and_the_comment_is_kept_clean() -> None:
    line = 'no-pty,restrict,environment="A=b c" ' + ED25519 + " alice\x07 of \x1b[31mcorp"
    assert parse_public_key(line) == ED25519 + " alice  of  [31mcorp"


def test_several_keys_in_mixed_forms() -> None:
    block = PPK.format(version=3).split("\n", 4)[4]
    text = f'# team\n{ED25519} one\n\n---- BEGIN SSH2 PUBLIC KEY ----\nSubject: x\nComment: "two \\\nlines"\n{block}---- END SSH2 PUBLIC KEY ----\n{SK_ED}\n'
    found = parse_public_keys(text)
    assert [key.comment for key in found] == ["one", "two lines", ""]
    assert found[0].blob == found[1].blob


@given(
    st.text(max_size=300)
    | st.binary(max_size=200).map(lambda data: "ssh-rsa " + base64.b64encode(data).decode())
)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_public_keys(text)
    except BadRecord:
        return
    assert [parse_public_key(key.line) for key in found] == [key.line for key in found]
