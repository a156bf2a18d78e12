# SPDX-License-Identifier: Apache-2.0
"""Certificates and lists of revocations in odd, broken and hostile forms."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.accounts.key_kinds import is_certificate, is_security_key, key_type
from tidegate.errors import BadRecord, ConfigError, LoginRefused
from tidegate.identity.certificates.revoked import Revoked, parse_revoked
from tidegate.identity.certificates.trust import UserCertificates
from tidegate.identity.certificates.wire import is_signed, read_certificate
from tidegate.policy.certificates import Findings, check_certificate

CA = asyncssh.generate_private_key("ssh-ed25519")
KEY = asyncssh.generate_private_key("ssh-ed25519")
CERTIFICATE = CA.generate_user_certificate(
    KEY, "the id", serial=7, principals=["ana", "bob"], source_address=["10.0.0.0/8", "::1"]
)
BLOB = CERTIFICATE.public_data
GOOD = Findings(trusted=True, signed=True, revoked="", security_key=False)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def signed_with(critical: bytes = b"", principals: bytes = string(b"ana"), kind: int = 1) -> bytes:
    """A rightly signed certificate with these parts as they are."""
    public = KEY.convert_to_public().public_data
    body = string(b"ssh-ed25519-cert-v01@openssh.com") + string(os.urandom(32)) + public[15:]
    body += struct.pack(">QI", 3, kind) + string(b"id") + string(principals)
    body += struct.pack(">QQ", 0, 2**64 - 1) + string(critical) + string(b"") + string(b"")
    body += string(CA.public_data)
    return body + string(CA.sign(body, b"ssh-ed25519"))


def asked(blob: bytes, username: str = "ana", ip: str = "10.1.1.1", now: float = 1e9) -> str:
    """The rule that refuses, empty if none does."""
    certificate = read_certificate(blob)
    assert is_signed(certificate)
    steps = check_certificate(certificate, GOOD, username=username, ip=ip, now=now, fold=lambda name: name)
    return steps[-1].rule if steps[-1].verdict == "deny" else ""


def test_content() -> None:
    found = read_certificate(BLOB)
    assert (found.algorithm, found.serial, found.kind, found.key_id) == ("ssh-ed25519", 7, 1, "the id")
    assert found.principals == ("ana", "bob")
    assert found.key == KEY.convert_to_public().public_data
    assert found.authority == CA.convert_to_public().public_data
    assert is_signed(found)
    assert is_certificate(BLOB)
    assert not is_certificate(found.key)
    assert key_type(BLOB) == b"ssh-ed25519" == key_type(found.key)
    assert key_type(string(b"sk-ssh-ed25519-cert-v01@openssh.com")) == b"sk-ssh-ed25519@openssh.com"
    assert is_security_key(string(b"sk-ssh-ed25519-cert-v01@openssh.com"))
    assert not is_security_key(BLOB)


def test_a_change_of_any_byte_is_noticed() -> None:
    for place in range(len(BLOB)):
        changed = bytearray(BLOB)
        changed[place] ^= 1
        try:
            found = read_certificate(bytes(changed))
        except BadRecord:
            continue
        assert not is_signed(found), place


def test_cut_or_lengthened_certificates_are_none() -> None:
    for size in range(len(BLOB)):
        with pytest.raises(BadRecord):
            read_certificate(BLOB[:size])
    with pytest.raises(BadRecord, match="follows"):
        read_certificate(BLOB + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_nothing_but_bad_record_is_raised(noise: bytes, place: int) -> None:
    for blob in (noise, BLOB[:place] + noise, BLOB[:place] + noise + BLOB[place + len(noise) :]):
        is_certificate(blob)
        key_type(blob)
        try:
            found = read_certificate(blob)
        except BadRecord:
            continue
        assert blob == BLOB or not is_signed(found)


def test_an_authority_that_signs_with_sha1_is_not_believed() -> None:
    authority = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    for algorithm, right in (("rsa-sha2-512", True), ("rsa-sha2-256", True), ("ssh-rsa", False)):
        made = authority.generate_user_certificate(KEY, "x", principals=["ana"], sig_alg=algorithm)
        assert is_signed(read_certificate(made.public_data)) is right


def test_keys_that_may_not_log_in_may_not_with_a_certificate() -> None:
    weak = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    made = CA.generate_user_certificate(weak, "x", principals=["ana"])
    with pytest.raises(BadRecord, match="1024 bits"):
        read_certificate(made.public_data)


@pytest.mark.parametrize(
    ("critical", "rule"),
    [
        (b"", ""),
        (string(b"source-address") + string(string(b"10.0.0.0/8")), ""),
        (string(b"source-address") + string(string(b"10.1.1.1, 192.0.2.1")), ""),
        (string(b"source-address") + string(string(b"192.0.2.0/24")), "source-address"),
        (string(b"source-address") + string(string(b"")), "source-address"),
        (string(b"source-address") + string(b""), "source-address"),
        (string(b"source-address") + string(b"10.0.0.0/8"), "source-address"),
        (string(b"source-address") + string(string(b"10.1.1.1/8")), "source-address"),
        (string(b"source-address") + string(string(b"10.0.0.0/8,x")), "source-address"),
        (2 * (string(b"source-address") + string(string(b"10.0.0.0/8"))), "option"),
        (string(b"force-command") + string(string(b"internal-sftp")), ""),
        (string(b"force-command") + string(string(b"internal-sftp -d /x")), "force-command"),
        (string(b"force-command") + string(string(b"")), "force-command"),
        (string(b"force-command") + string(b"internal-sftp"), "force-command"),
        (string(b"Force-Command") + string(string(b"internal-sftp")), "option"),
        (string(b"verify-required") + string(b""), "option"),
        (string(b"") + string(b""), "option"),
    ],
)
def test_critical_options(critical: bytes, rule: str) -> None:
    assert asked(signed_with(critical)) == (rule and f"certificate[{rule}]")


def test_principals_and_kinds() -> None:
    assert asked(signed_with(principals=b"")) == "certificate[principal]"
    assert asked(signed_with(principals=string(b""))) == "certificate[principal]"
    assert asked(signed_with(principals=string(b"an")), "ana") == "certificate[principal]"
    assert asked(signed_with(principals=string(b"*")), "ana") == "certificate[principal]"
    assert asked(signed_with(principals=string(b"bob") + string(b"ana"))) == ""
    for kind in (0, 2, 3, 2**32 - 1):
        assert asked(signed_with(kind=kind)) == "certificate[kind]"
    with pytest.raises(BadRecord, match="256 principals"):
        read_certificate(signed_with(principals=257 * string(b"x")))


def test_times() -> None:
    made = CA.generate_user_certificate(KEY, "x", principals=["ana"], valid_after=1000, valid_before=2000)
    for now, rule in ((999.9, "validity"), (1000, ""), (1999.9, ""), (2000, "validity")):
        assert asked(made.public_data, now=now) == (rule and f"certificate[{rule}]")


def test_a_certificate_as_an_authority_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca"
    CERTIFICATE.write_certificate(file)
    with pytest.raises(ConfigError, match=r"trusted_user_ca_keys\[0\].*certificate"):
        UserCertificates([file], None).load()
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        UserCertificates([file, tmp_path / "none"], None).load()


async def test_names_are_folded_as_those_of_logins(tmp_path: Path) -> None:
    CA.write_public_key(tmp_path / "ca")
    made = CA.generate_user_certificate(KEY, "x", principals=["Ana "]).public_data
    for rules, right in ((1, False), (2, False), (6, True)):
        judge = UserCertificates([tmp_path / "ca"], None, naming_rules=rules)
        judge.load()
        if right:
            await judge.check(made, "ana", "10.0.0.1")
        else:
            with pytest.raises(LoginRefused):
                await judge.check(made, "ana", "10.0.0.1")


# -- revocations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('["SHA256:x"]', r"file\[0\]"),
        ("[1]", r"file\[0\]"),
        ("{}", "no JSON list"),
        ("[", "no JSON"),
        ("serial: x", "file:1"),
        ("\nserial: 9-3", "file:2"),
        ("serial: 0", "file:1"),
        ("serial: 18446744073709551616", "file:1"),
        ("serial: 000000000000000000000000000018446744073709551616", "file:1"),
        ("id:", "file:1"),
        ("id: a\nhash: SHA1:x", "file:2"),
        ("sha1: ssh-ed25519 AAAA", "file:1"),
        ("what is this", "file:1"),
        ("ssh-ed25519 AAAA", "file:1"),
    ],
)
def test_mistakes_in_lists_are_named(text: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        parse_revoked(text.encode(), "file")


def test_text_that_revokes() -> None:
    found = read_certificate(BLOB)
    digest = KEY.get_fingerprint()
    for text in (
        json.dumps([digest]),
        json.dumps([f"{digest}="]),
        digest,
        f"hash:{digest}",
        "serial: 7",
        "SERIAL:5-7",
        "id: the id",
        BLOB and "\ufeff# comment\r\nserial: 7\r\n",
        CA.export_public_key().decode(),
    ):
        assert parse_revoked(text.encode(), "file").why(found), text
    for text in ("", "[]", "# serial: 7", "serial: 8", "serial: 1-6", "id: The id", "id: the"):
        assert not parse_revoked(text.encode(), "file").why(found), text


def test_ranges_that_meet_overlap_or_hold_each_other() -> None:
    text = "serial: 10-20\nserial: 15-30\nserial: 31-40\nserial: 12-13\nserial: 100-200\nserial: 50"
    found = parse_revoked(text.encode(), "file")
    assert found.ranges[b""] == [(10, 40), (100, 200)]
    wanted = {*range(10, 41), 50, *range(100, 201)}
    for serial in range(1, 250):
        one = replace(read_certificate(BLOB), serial=serial)
        assert bool(found.why(one)) is (serial in wanted), serial


def test_a_serial_of_zero_is_nobodys() -> None:
    made = read_certificate(CA.generate_user_certificate(KEY, "x", principals=["a"]).public_data)
    assert made.serial == 0
    assert not Revoked(ranges={b"": [(0, 10)]}).why(made)


def krl(*sections: bytes) -> bytes:
    return b"SSHKRL\n\0" + struct.pack(">IQQQ", 1, 1, 0, 0) + string(b"") + string(b"") + b"".join(sections)


@pytest.mark.parametrize(
    "data",
    [
        b"SSHKRL\n\0",
        krl(b"\x01"),
        krl(b"\x09" + string(b"")),
        krl(b"\x01" + string(string(b"") + string(b"") + b"\x77" + string(b""))),
        krl(b"\x01" + string(string(b"") + string(b"") + b"\x20" + string(b"\0"))),
        krl(b"\xff" + string(string(b"x@y") + b"\x01" + string(b""))),
        krl(b"\x01" + string(string(b"") + string(b"") + b"\x22" + string(bytes(8) + string(bytes(2**18))))),
    ],
)
def test_broken_binary_lists_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="key revocation list"):
        parse_revoked(data, "file")


def test_extensions_that_may_be_ignored_are() -> None:
    section = string(b"") + string(b"") + b"\x20" + string(struct.pack(">Q", 7))
    data = krl(b"\xff" + string(string(b"x@y") + b"\0" + string(b"")), b"\x01" + string(section))
    assert parse_revoked(data, "file").why(read_certificate(BLOB))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_lists_raise_nothing_else(noise: bytes) -> None:
    for data in (noise, krl(noise), b"[" + noise):
        try:
            parse_revoked(data, "file").why(read_certificate(BLOB))
        except ConfigError:
            continue
