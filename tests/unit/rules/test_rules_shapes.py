# SPDX-License-Identifier: Apache-2.0
"""Sections that documents of records always have for programs, whatever the record uses."""

from __future__ import annotations

from tidegate.rules.shapes import completed

SECTIONS = {"osconfig", "s3config", "gcsconfig", "azblobconfig", "cryptconfig", "sftpconfig", "httpconfig"}
OFF = {"external_auth_disabled": False, "pre_login_disabled": False, "check_password_disabled": False}


def test_users() -> None:
    found = completed("user", {"username": "u"})
    assert found["username"] == "u"
    assert found["filters"] == {"hooks": OFF, "totp_config": {"secret": {}}}
    assert found["filesystem"] == {"provider": 0, **{name: {} for name in SECTIONS}}


def test_what_is_there_stays() -> None:
    given = {
        "filters": {"allowed_ip": ["10.0.0.0/8"], "hooks": {"pre_login_disabled": True}},
        "filesystem": {"provider": 1, "s3config": {"bucket": "b"}},
    }
    found = completed("user", given)
    assert found["filters"]["allowed_ip"] == ["10.0.0.0/8"]
    assert found["filters"]["hooks"] == {**OFF, "pre_login_disabled": True}
    assert (found["filesystem"]["provider"], found["filesystem"]["s3config"]) == (1, {"bucket": "b"})
    assert given["filters"] == {"allowed_ip": ["10.0.0.0/8"], "hooks": {"pre_login_disabled": True}}


def test_folders_show_their_secrets_as_empty() -> None:
    found = completed("folder", {"name": "f"})["filesystem"]
    assert found["s3config"] == {"access_secret": {}, "sse_customer_key": {}}
    assert found["azblobconfig"] == {"account_key": {}, "sas_url": {}}
    assert (found["osconfig"], found["gcsconfig"]) == ({}, {"credentials": {}})


def test_groups_and_administrators() -> None:
    settings = completed("group", {"user_settings": {"max_sessions": 3}})["user_settings"]
    assert (settings["max_sessions"], settings["filters"]) == (3, {"hooks": OFF})
    assert settings["filesystem"].keys() == {"provider", *SECTIONS}
    assert completed("group", {})["user_settings"]["filters"] == {"hooks": OFF}
    assert completed("admin", {"filters": None})["filters"] == {"totp_config": {}, "preferences": {}}


def test_other_records_stay_as_they_are() -> None:
    assert completed("role", {"name": "r"}) == {"name": "r"}
