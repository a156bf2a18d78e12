# SPDX-License-Identifier: Apache-2.0
"""Documents of users as hooks get them: byte for byte those that were recorded, and answers as they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidegate.errors import OutsideFailed
from tidegate.hooks.asking import compact, read_object
from tidegate.hooks.documents import old_user_document, stranger_document, switched_off, user_document
from tidegate.hooks.merging import cleaned, merged
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.model import Account, Filters
from tidegate.store.documents import decode_account

FILE = Path(__file__).parents[2] / "data" / "recorded" / "login-hook-users.jsonl"
RECORDED = {one["case"]: one["user"] for one in map(json.loads, FILE.read_text().splitlines())}
HOOK = Hook("pre_login", "/bin/hook", "data_provider.pre_login_hook")


def account_of(text: str) -> Account:
    """The account that a recorded document shows."""
    shown = json.loads(text)
    names = (
        "id", "status", "username", "password", "home_dir", "max_sessions", "quota_size", "quota_files",
        "used_quota_size", "used_quota_files", "last_quota_update", "upload_bandwidth", "download_bandwidth",
        "last_login", "created_at", "updated_at", "last_password_change",
    )  # fmt: skip
    return Account(
        **{name: shown[name] for name in names if name in shown},
        public_keys=tuple(shown.get("public_keys", ())),
        permissions={path: tuple(words) for path, words in shown["permissions"].items()},
    )


def as_recorded(text: str) -> str:
    return text.replace("\\u003c", "<").replace("\\u003e", ">")


def test_a_user_before_a_login() -> None:
    text = RECORDED["2.7.5 pre-login"]
    assert as_recorded(compact(user_document(account_of(text)))) == text


def test_a_user_after_a_login_has_no_hash() -> None:
    text = RECORDED["2.7.5 post-login"]
    account = Account(**{**_fields(account_of(text)), "password": "$2a$10$x"})
    assert as_recorded(compact(user_document(account, password=False))) == text


def _fields(account: Account) -> dict[str, object]:
    return {name: getattr(account, name) for name in Account.__dataclass_fields__}


def test_a_stranger() -> None:
    assert compact(stranger_document("p9")) == RECORDED["2.7.5 pre-login, unknown"]
    assert compact(stranger_document("o9", secrets=False)) == RECORDED["2.7.5 post-login, unknown"]


def test_a_user_of_the_old_line() -> None:
    text = RECORDED["0.9.6 pre-login"]
    assert as_recorded(compact(old_user_document(account_of(text)))) == text


def test_no_secret_but_the_hash_is_shown() -> None:
    filters = Filters(
        extra={"totp_config": {"enabled": True, "config_name": "D", "secret": {"payload": "hidden"}}}
    )
    account = Account(username="a", password="$2a$10$x", home_dir="/h", filters=filters)
    text = compact(user_document(account))
    assert "hidden" not in text
    assert '"totp_config":{"enabled":true,"config_name":"D","secret":{}}' in text


def test_signs_of_html_are_escaped_as_by_go() -> None:
    assert compact({"a": "<&>\u2028ü"}) == '{"a":"\\u003c\\u0026\\u003e\\u2028ü"}'


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{bad", "no JSON"),
        (b"[1]", "no object"),
        (b'"x"', "no object"),
        (b"\xff{}", "not UTF-8"),
        (b"", "no JSON"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b"[" * 100_000, "nested deeper than 32"),
    ],
)
def test_what_is_no_answer(body: bytes, what: str) -> None:
    with pytest.raises(OutsideFailed, match=what):
        read_object(HOOK, body)


def test_what_a_hook_cannot_set_is_left_out() -> None:
    document = {
        "username": "a", "home_dir": "/h", "permissions": {"/": ["*"]}, "id": 5, "used_quota_size": 7, "last_login": 1,
        "has_password": True, "tally": {}, "unknown": 1, "email": None,
        "filters": {"totp_config": {"enabled": False}, "recovery_codes": [], "max_upload_file_size": 3, "odd": 1},
        "virtual_folders": [{"name": "f", "virtual_path": "/f", "odd": 1}],
    }  # fmt: skip
    assert cleaned(document) == {
        "username": "a", "home_dir": "/h", "permissions": {"/": ["*"]},
        "filters": {"max_upload_file_size": 3}, "virtual_folders": [{"name": "f", "virtual_path": "/f"}],
    }  # fmt: skip


def test_parts_are_merged_key_by_key() -> None:
    base = {"a": 1, "filters": {"x": [1], "y": 2}, "permissions": {"/": ["*"]}}
    assert merged(base, {"a": None, "filters": {"x": [2]}, "permissions": {"/b": []}, "c": {}}) == {
        "a": 1, "filters": {"x": [2], "y": 2}, "permissions": {"/": ["*"], "/b": []}, "c": {},
    }  # fmt: skip
    assert base == {"a": 1, "filters": {"x": [1], "y": 2}, "permissions": {"/": ["*"]}}


@pytest.mark.parametrize(
    ("filters", "off"),
    [
        ({"hooks": {"check_password_disabled": True}}, {"check_password"}),
        (
            {"hooks": {"external_auth_disabled": True, "pre_login_disabled": True}},
            {"external_auth", "pre_login"},
        ),
        ({"hooks": {"pre_login_disabled": "yes"}}, set()),
        ({"check_password_disabled": True}, {"check_password"}),
        ({}, set()),
    ],
)
def test_hooks_that_an_account_has_switched_off(filters: dict[str, object], off: set[str]) -> None:
    notes: list[str] = []
    document = {"username": "a", "home_dir": "/h", "permissions": {"/": ["*"]}, "filters": filters}
    account = decode_account(document, notes=notes)
    assert {
        name for name in ("external_auth", "pre_login", "check_password") if switched_off(account, name)
    } == off
    assert notes == []
    assert not switched_off(None, "pre_login")


@pytest.mark.parametrize(
    ("scope", "kinds"),
    [
        (0, {"password", "publickey", "keyboard-interactive", "TLSCertificate"}),
        (1, {"password"}),
        (2, {"publickey"}),
        (4, {"keyboard-interactive"}),
        (8, {"TLSCertificate"}),
        (6, {"publickey", "keyboard-interactive"}),
    ],
)
def test_scopes(scope: int, kinds: set[str]) -> None:
    settings = HookSettings(external_auth=HOOK, external_scope=scope)
    every = ("password", "publickey", "keyboard-interactive", "TLSCertificate")
    assert {kind for kind in every if settings.external_for(kind, asks_questions=True)} == kinds
    alone = {kind for kind in every if settings.external_for(kind, asks_questions=False)}
    assert ("keyboard-interactive" in alone) == ("password" in alone)
    for family, bit in (("SSH", 1), ("FTP", 2), ("DAV", 4), ("HTTP", 8)):
        checks = HookSettings(check_password=HOOK, password_scope=bit)
        asked = {one for one in ("SSH", "FTP", "DAV", "HTTP") if checks.check_password_for(one)}
        assert asked == {family}
