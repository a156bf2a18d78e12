# SPDX-License-Identifier: Apache-2.0
"""Documents at the edge: strict in, nothing secret out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.accounts import BCRYPT, ED25519, full_account, full_admin, full_folder, full_key

from tidegate.accounts.keys import stored_key
from tidegate.accounts.names import fold_name
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord
from tidegate.model.group import Group, GroupSettings
from tidegate.store.documents import (
    decode_account,
    decode_admin,
    decode_api_key,
    decode_folder,
    encode_account,
    encode_admin,
    encode_api_key,
    encode_folder,
)
from tidegate.store.group_documents import decode_group, encode_group
from tidegate.store.validate import looks_hashed
from tidegate.store.versions import folder_name

LEAST: dict[str, Any] = {"username": "ana", "home_dir": "/srv/ana", "permissions": {"/": ["*"]}}


def refused(document: object, **more: object) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        decode_account(document, **more)
    assert "\n" not in str(caught.value)
    return caught.value


def test_account_round_trip() -> None:
    account = full_account()

    document = json.loads(json.dumps(encode_account(account, confidential=True)))

    assert decode_account(document) == account
    assert document["filters"]["access_time"] == [{"day_of_week": 2, "from": "08:00", "to": "17:30"}]
    assert document["filters"]["hooks"] == {"pre_login_disabled": True}
    assert document["oidc_custom_fields"] == {"unit": "staff"}
    assert "role" not in document
    assert document["has_password"] is True
    assert document["filesystem"] == {"provider": 0}


def test_other_round_trips() -> None:
    admin, key, folder = full_admin(), full_key(), full_folder()

    assert decode_admin(encode_admin(admin, confidential=True)) == admin
    assert decode_api_key(encode_api_key(key, confidential=True)) == key
    assert decode_folder(encode_folder(folder, confidential=True, users=["ana"])) == folder


def test_nothing_secret_without_confidential() -> None:
    secret = "TOPSECRET"
    storage = {
        "provider": 1,
        "s3config": {"bucket": "b", "access_secret": {"status": "Plain", "payload": secret, "key": secret}},
        "sftpconfig": {"password": secret, "private_key": secret, "endpoint": "h:22"},
        "azblobconfig": {"account_key": secret, "sas_url": secret},
        "gcsconfig": {"credentials": secret},
        "cryptconfig": {"passphrase": secret},
        "httpconfig": {"api_key": secret},
    }
    account = decode_account(
        {
            **LEAST,
            "password": secret,
            "filesystem": storage,
            "filters": {"totp_config": {"secret": secret}, "recovery_codes": [{"secret": secret}]},
            "oidc_custom_fields": {"a": {"password": secret}, "list": [{"secret": secret}]},
        }
    )
    shown = [
        encode_account(account, confidential=False),
        encode_admin(
            decode_admin(
                {
                    "username": "r",
                    "permissions": ["*"],
                    "password": secret,
                    "filters": {"totp_config": {"x": secret}},
                }
            ),
            confidential=False,
        ),
        encode_api_key(replace(full_key(), key=secret), confidential=False),
        encode_folder(decode_folder({"name": "f", "filesystem": storage}), confidential=False),
    ]

    assert secret not in json.dumps(shown)
    assert shown[0]["filesystem"]["s3config"]["bucket"] == "b"
    assert shown[0]["has_password"] is True
    assert "password" not in shown[0]


def test_what_was_shown_can_be_written_back_without_loss() -> None:
    stored = decode_account(
        {
            **LEAST,
            "password": BCRYPT,
            "filters": {"totp_config": {"secret": "T"}, "web_client": ["shares-disabled"]},
            "filesystem": {"provider": 1, "s3config": {"bucket": "b", "access_secret": "S"}},
        }
    )
    shown = encode_account(stored, confidential=False)

    assert decode_account(shown, base=stored) == stored
    changed = decode_account({**shown, "password": "$1$new", "email": "a@b"}, base=stored)
    assert (changed.password, changed.email) == ("$1$new", "a@b")
    assert changed.filters.extra["totp_config"] == {"secret": "T"}


def test_update_without_permissions_keeps_them() -> None:
    base = decode_account(LEAST)

    assert decode_account({"home_dir": "/new"}, base=base) == replace(base, home_dir="/new")


def test_nulls_mean_absent() -> None:
    given_nulls = {
        **LEAST,
        "public_keys": None,
        "filters": {"allowed_ip": None, "access_time": None, "tally_limits": None},
        "virtual_folders": None,
        "email": None,
    }

    assert decode_account(given_nulls) == decode_account(LEAST)


@pytest.mark.parametrize(
    ("more", "field", "what"),
    [
        ({"usernam": 1}, "usernam", "did you mean username?"),
        ({"zzzz": 1}, "zzzz", "unknown key"),
        ({"filters": {"acces_time": 1}}, "filters.acces_time", "did you mean access_time?"),
        ({"filters": []}, "filters", "JSON object"),
        (
            {"filters": {"tally_limits": {"byte_in": 1}}},
            "filters.tally_limits.byte_in",
            "did you mean bytes_in?",
        ),
        ({"filters": {"tally_limits": {"limit_type": "x"}}}, "filters.tally_limits.limit_type", "soft, hard"),
        ({"filters": {"access_time": [{"form": "x"}]}}, "filters.access_time[0].form", "did you mean from?"),
        (
            {"filters": {"access_time": [{"from_": "x"}]}},
            "filters.access_time[0].from_",
            "did you mean from?",
        ),
        ({"filters": {"access_time": [{"from": "8:00"}]}}, "filters.access_time[0].from", "'8:00'"),
        ({"filters": {"access_time": [{"from": "9", "to": 5}]}}, "filters.access_time[0].to", "string"),
        (
            {"filters": {"access_time": [{"from": "10:00", "to": "09:00"}]}},
            "filters.access_time[0].from",
            "after 09:00",
        ),
        (
            {"filters": {"access_time": [{"day_of_week": 7}]}},
            "filters.access_time[0].day_of_week",
            "7 is not",
        ),
        ({"filters": {"access_time": [3]}}, "filters.access_time[0]", "JSON object"),
        ({"filters": {"allowed_ip": ["10.0.0.0/8", "x"]}}, "filters.allowed_ip[1]", "'x' is not a network"),
        ({"filters": {"denied_ip": ["fe80::1%eth0"]}}, "filters.denied_ip[0]", "is not a network"),
        ({"filters": {"allowed_ip": "10.0.0.0/8"}}, "filters.allowed_ip", "array"),
        ({"filters": {"denied_protocols": ["SMB"]}}, "filters.denied_protocols[0]", "'SMB' is not one of"),
        (
            {"filters": {"denied_protocols": ["SSH", "FTP", "DAV", "HTTP"]}},
            "filters.denied_protocols",
            "all of them",
        ),
        (
            {"filters": {"denied_login_methods": ["x"]}},
            "filters.denied_login_methods[0]",
            "'x' is not one of",
        ),
        ({"filters": {"file_patterns": [{"path": "/a"}]}}, "filters.file_patterns[0]", "neither"),
        (
            {"filters": {"file_patterns": [{"path": "a", "denied_patterns": ["*"]}]}},
            "filters.file_patterns[0].path",
            "'a' is not an absolute path",
        ),
        (
            {"filters": {"file_patterns": [{"denied_patterns": ["a/b"]}]}},
            "filters.file_patterns[0].denied_patterns[0]",
            "'a/b' is not a pattern",
        ),
        (
            {"filters": {"file_patterns": [{"denied_patterns": ["*.jpg", "*.ex[e"]}]}},
            "filters.file_patterns[0].denied_patterns[1]",
            "never closed",
        ),
        (
            {"filters": {"file_patterns": [{"allowed_patterns": ["a\x07"]}]}},
            "filters.file_patterns[0].allowed_patterns[0]",
            "cannot be printed",
        ),
        (
            {"filters": {"file_patterns": [{"denied_patterns": ["*"], "deny_policy": 2}]}},
            "filters.file_patterns[0].deny_policy",
            "2 is not one of 0, 1",
        ),
        (
            {
                "filters": {
                    "file_patterns": [{"denied_patterns": ["*"]}, {"path": "//", "preset": "openbridge"}]
                }
            },
            "filters.file_patterns[1].path",
            "given twice",
        ),
        (
            {"filters": {"file_patterns": [{"preset": "x"}]}},
            "filters.file_patterns[0].preset",
            "'x' is not one",
        ),
        ({"filters": {"file_extensions": 3}}, "filters.file_extensions", "a list"),
        (
            {"filters": {"file_extensions": [{"allowed_extensions": 3}]}},
            "filters.file_extensions[0].allowed_extensions",
            "list of texts",
        ),
        (
            {"filters": {"bandwidth_limits": [{"upload_bandwidth": 1}]}},
            "filters.bandwidth_limits[0].sources",
            "is empty",
        ),
        (
            {"filters": {"bandwidth_limits": [{"sources": ["1.2.3.4"], "upload_bandwidth": -1}]}},
            "filters.bandwidth_limits[0].upload_bandwidth",
            "-1 is out of range",
        ),
        (
            {"filters": {"data_transfer_limits": [{"upload_data_transfer": 1}]}},
            "filters.data_transfer_limits[0].sources",
            "is empty",
        ),
        (
            {"filters": {"data_transfer_limits": [{"sources": ["1.2.3.4"], "total_data_transfer": -1}]}},
            "filters.data_transfer_limits[0].total_data_transfer",
            "-1 is out of range",
        ),
        (
            {"virtual_folders": [{"name": "v", "virtual_path": "/v", "subpath": "in"}]},
            "virtual_folders[0].subpath",
            "only a whole folder can be mounted: make a folder of that part",
        ),
        ({"filters": {"start_directory": "x"}}, "filters.start_directory", "not an absolute path"),
        ({"filters": {"max_upload_file_size": -1}}, "filters.max_upload_file_size", "out of range"),
        ({"username": ""}, "username", "is empty"),
        ({"username": "a/b"}, "username", "'a/b' is not a name"),
        ({"username": ".."}, "username", "'..' is not a name"),
        ({"username": "a\nb"}, "username", "is not a name"),
        ({"username": "a\0"}, "username", "is not a name"),
        ({"username": "a\u202eb"}, "username", "is not a name"),
        ({"username": " a"}, "username", "begins or ends with a space"),
        ({"username": "é" * 128}, "username", "at most 255 bytes"),
        ({"username": 5}, "username", "valid string, not 5"),
        ({"username": None}, "username", "is missing"),
        ({"home_dir": ""}, "home_dir", "is missing"),
        ({"home_dir": "srv"}, "home_dir", "'srv' is not an absolute path"),
        ({"home_dir": "/srv/../etc"}, "home_dir", "holds '..'"),
        ({"home_dir": "/a\x1bb"}, "home_dir", "control character"),
        ({"home_dir": "/" + "x" * 4096}, "home_dir", "longer than 4096"),
        ({"permissions": {}}, "permissions", 'needs at least one permission for "/"'),
        ({"permissions": {"/a": ["*"]}}, "permissions", 'needs at least one permission for "/"'),
        ({"permissions": {"/": []}}, "permissions", "needs at least one"),
        ({"permissions": {"/": ["*"], "a": ["*"]}}, 'permissions["a"]', "not an absolute path"),
        ({"permissions": {"/": ["*"], "/a/../b": ["*"]}}, 'permissions["/a/../b"]', "holds '..'"),
        ({"permissions": {"/": ["*"], "/a": ["*"], "/a/": []}}, 'permissions["/a/"]', "given twice"),
        ({"permissions": {"/": ["lst"]}}, 'permissions["/"][0]', "'lst' is not one of"),
        ({"permissions": {"/": "list"}}, 'permissions["/"]', "array"),
        ({"permissions": 3}, "permissions", "not 3"),
        ({"quota_size": -1}, "quota_size", "-1 is out of range"),
        ({"quota_size": 2**63}, "quota_size", "out of range"),
        ({"quota_size": 10**40}, "quota_size", "out of range"),
        ({"quota_size": "5"}, "quota_size", "valid integer, not '5'"),
        ({"quota_size": True}, "quota_size", "valid integer, not True"),
        ({"quota_size": 5.5}, "quota_size", "integer"),
        ({"status": 2}, "status", "2 is not one of 0, 1"),
        ({"uid": 2**32 - 1}, "uid", "is above"),
        ({"description": "a\0b"}, "description", "holds a NUL"),
        ({"email": "\ud800"}, "", "unpaired surrogate"),
        ({"public_keys": ["ssh-ed25519"]}, "public_keys[0]", "ends after its type"),
        ({"public_keys": [ED25519, "ssh-foo AAAA"]}, "public_keys[1]", "neither an OpenSSH key line nor"),
        ({"public_keys": ["ssh-rsa !!!!"]}, "public_keys[0]", "is not base64"),
        (
            {"public_keys": [ED25519.replace("ssh-ed25519 ", "ssh-rsa ")]},
            "public_keys[0]",
            "the line says 'ssh-rsa'",
        ),
        ({"public_keys": [ED25519[:40]]}, "public_keys[0]", "key"),
        ({"public_keys": [f'command="x" {ED25519}']}, "public_keys[0]", "not supported"),
        ({"public_keys": [f"{ED25519}\n{ED25519}"]}, "public_keys[0]", "expected one key and found 2"),
        ({"virtual_folders": [{"name": "f"}]}, "virtual_folders[0].virtual_path", "is missing"),
        ({"virtual_folders": [{"virtual_path": "/f"}]}, "virtual_folders[0].name", "is missing"),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/"}]},
            "virtual_folders[0].virtual_path",
            "cannot be mounted at '/'",
        ),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/a"}, {"name": "g", "virtual_path": "/a/"}]},
            "virtual_folders[1].virtual_path",
            "'/a' is given twice",
        ),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/a", "quota_size": 5}]},
            "virtual_folders[0].quota_size",
            "both be -1",
        ),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/a", "quota_size": -2}]},
            "virtual_folders[0].quota_size",
            "out of range",
        ),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/a", "mapped_path": "x"}]},
            "virtual_folders[0].mapped_path",
            "'x' is not an absolute path",
        ),
        (
            {"virtual_folders": [{"name": "f", "virtual_path": "/a", "mapped": "x"}]},
            "virtual_folders[0].mapped",
            "did you mean mapped_path?",
        ),
        ({"filesystem": {"provider": 9}}, "filesystem.provider", "9 is not a provider"),
        ({"filesystem": 3}, "filesystem", "not 3"),
    ],
)
def test_each_mistake_is_named(more: dict[str, Any], field: str, what: str) -> None:
    error = refused({**LEAST, **more})

    assert error.field == field
    assert what in error.what


def test_wrong_secrets_are_not_quoted() -> None:
    assert "12345" not in str(refused({**LEAST, "password": 12345}))
    assert "geheim" not in str(refused({**LEAST, "password": ["geheim"]}))


def test_errors_carry_where_the_record_stands() -> None:
    assert refused({**LEAST, "uid": "x"}, where="users[3].").field == "users[3].uid"
    assert refused(3, where="users[3].").field == "users[3]"


def test_canonical_spelling() -> None:
    account = decode_account(
        {
            **LEAST,
            "home_dir": "//srv//ana/./",
            "permissions": {"//": ["list", "list"], "/in//": ["upload"]},
            "filters": {"allowed_ip": ["10.1.2.3", "2001:db8::1", "10.0.0.1/8"], "start_directory": "/in/"},
            "public_keys": [f"  {ED25519}\n"],
        }
    )

    assert account.home_dir == "/srv/ana"
    assert account.permissions == {"/": ("list",), "/in": ("upload",)}
    assert account.filters.allowed_ip == ("10.1.2.3/32", "2001:db8::1/128", "10.0.0.1/8")
    assert account.filters.start_directory == "/in"
    assert account.public_keys == (ED25519,)


def test_rules() -> None:
    without_home = {"username": " Ana ", "permissions": ["*"]}

    account = decode_account(without_home, rules=Rules(users_base_dir="/srv/", naming_rules=7))
    assert (account.username, account.home_dir) == ("ana", "/srv/ana")
    assert refused({**LEAST, "username": "zoë"}, rules=Rules(naming_rules=0)).field == "username"
    root = {**LEAST, "virtual_folders": [{"name": "f", "virtual_path": "/"}]}
    assert decode_account(root, rules=Rules(root_mounts=True)).virtual_folders[0].virtual_path == "/"
    assert fold_name(" A ", Rules(naming_rules=1)) == " A "


def test_known_foreign_fields_are_kept_and_noted_only_if_used() -> None:
    notes: list[str] = []
    document = {
        **LEAST,
        "role": "",
        "groups": [],
        "filters": {"user_type": "OSUser", "web_client": [], "is_anonymous": False},
    }

    account = decode_account(document, notes=notes)

    assert notes == ["filters.user_type: not available in this version"]
    assert encode_account(account, confidential=True)["filters"]["user_type"] == "OSUser"


def test_what_earlier_versions_kept_without_effect_does_not_come_to_act() -> None:
    """An account that was opened although it was anonymous elsewhere has a password that counts."""
    limits = [{"sources": ["::/0"], "upload_data_transfer": 1}]
    account = decode_account(LEAST)
    kept = replace(
        account,
        filters=replace(account.filters, extra={"is_anonymous": True, "data_transfer_limits": limits}),
    )
    written = encode_account(kept, confidential=True)
    again = decode_account(written).filters
    assert (again.is_anonymous, again.data_transfer_limits, again.extra) == (False, (), {})
    group = Group(name="g", user_settings=GroupSettings(filters=kept.filters))
    there = decode_group(encode_group(group, confidential=True)).user_settings.filters
    assert (there.is_anonymous, there.data_transfer_limits, there.extra) == (False, (), {})


@pytest.mark.parametrize(("field", "value"), [("tls_username", "Email"), ("ftp_security", 2)])
def test_rules_of_ftp_are_known_words(field: str, value: object) -> None:
    known = {"tls_username": "CommonName", "ftp_security": 1}
    assert decode_account({**LEAST, "filters": known}).filters.ftp_security == 1
    assert refused({**LEAST, "filters": {**known, field: value}}).field == f"filters.{field}"


def test_lenient_keeps_unknown_keys() -> None:
    notes: list[str] = []

    account = decode_account({**LEAST, "tomorrow": 1}, lenient=True, notes=notes)

    assert notes == ["tomorrow: unknown, kept"]
    assert encode_account(account, confidential=True)["tomorrow"] == 1


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"username": "r", "permissions": []}, "permissions"),
        ({"username": "r", "permissions": ["fly"]}, "permissions[0]"),
        ({"username": "r", "permissions": ["*"], "filters": {"allow_list": ["x"]}}, "filters.allow_list[0]"),
        ({"username": "r/", "permissions": ["*"]}, "username"),
        ({"username": "r", "permissions": ["*"], "filter": {}}, "filter"),
        ({"username": "r", "permissions": ["*"], "status": -1}, "status"),
    ],
)
def test_bad_admins(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_admin(document)
    assert caught.value.field == field


def test_old_admin_permission_names_load() -> None:
    old = ["manage_admins", "manage_system", "retention_checks", "metadata_checks", "disable_mfa"]

    assert decode_admin({"username": "r", "permissions": old}).permissions == tuple(old)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "k", "name": ""}, "name"),
        ({"id": "", "name": "n"}, "id"),
        ({"id": "a b", "name": "n"}, "id"),
        ({"id": "k", "name": "n", "scope": 3}, "scope"),
        ({"id": "k", "name": "n", "scope": 1, "user": "ana"}, "user"),
        ({"id": "k", "name": "n", "scope": 2, "admin": "root"}, "admin"),
        ({"id": "k", "name": "n", "expires_at": -1}, "expires_at"),
    ],
)
def test_bad_api_keys(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_api_key(document)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"name": "f"}, "mapped_path"),
        ({"name": "f", "mapped_path": "x"}, "mapped_path"),
        ({"mapped_path": "/x"}, "name"),
        ({"name": "f", "mapped_path": "/x", "used_quota_size": -1}, "used_quota_size"),
        ({"name": "f", "mapped_path": "/x", "maped": 1}, "maped"),
    ],
)
def test_bad_folders(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_folder(document)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "stored",
    [
        "$argon2id$v=19$m=65536,t=1,p=2$x$y",
        "$2a$10$x",
        "$2b$10$x",
        "$2y$10$x",
        "$pbkdf2-sha1$1$a$b",
        "$pbkdf2-sha256$1$a$b",
        "$pbkdf2-sha512$1$a$b",
        "$pbkdf2-b64salt-sha256$1$a$b",
        "$1$x$y",
        "$apr1$x$y",
        "$5$x$y",
        "$6$x$y",
        "$y$j9T$x$y",
        "{MD5}00",
        "{SHA256}00",
        "{SHA512}00",
    ],
)
def test_stored_forms_are_recognised(stored: str) -> None:
    assert looks_hashed(stored)


@pytest.mark.parametrize("plain", ["", "secret", "$ecret", "{curly}", "$2", "$argon", "{md5}x", " $6$x"])
def test_plain_text_is_plain_text(plain: str) -> None:
    assert not looks_hashed(plain)


def test_folder_names_of_directories_differ() -> None:
    paths = ["/a/b", "/a-b", "/a/b-c", "/a-b/c", "/a--b", "/", "/ a", "/a/../b", "/é", "/x" * 300, "/..."]

    names = [folder_name(path) for path in paths]

    assert len(set(names)) == len(paths)
    for name, path in zip(names, paths, strict=True):
        document = {**LEAST, "virtual_folders": [{"name": name, "virtual_path": "/v"}]}
        assert decode_account(document).virtual_folders[0].name == name, path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        *LEAST,
        "filters",
        "virtual_folders",
        "public_keys",
        "tally",
        "filesystem",
        "uid",
        "groups",
        "password",
    ]
)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "NaN", "Infinity"])
def test_numbers_that_json_cannot_hold_are_refused(text: str) -> None:
    document = {**LEAST, "filters": json.loads(f'{{"unknown": [{text}]}}')}
    with pytest.raises(BadRecord, match="not finite"):
        decode_account(document, lenient=True)


@given(st.dictionaries(fields, json_values, max_size=6), st.booleans())
def test_any_document_decodes_or_is_refused(document: dict[str, Any], lenient: bool) -> None:
    for whole in (document, {**LEAST, **document}, {**LEAST, "filters": document}):
        try:
            account = decode_account(whole, lenient=lenient)
        except BadRecord:
            continue
        assert decode_account(encode_account(account, confidential=True), lenient=lenient) == account


@given(st.text(max_size=200))
def test_any_key_text_is_refused_cleanly(text: str) -> None:
    with pytest.raises(BadRecord):
        stored_key("key", f"ssh-ed25519 {text}")
