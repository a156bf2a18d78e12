# SPDX-License-Identifier: Apache-2.0
"""An unmodified configuration of every release of SFTPGo is accepted, and each key without effect is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.command_line import tidegate
from tests.support.sftpgo_config import KEYS, RELEASES, default_config

from tidegate.config.load import load
from tidegate.config.schema import Settings


@pytest.mark.parametrize("release", RELEASES)
def test_an_unmodified_configuration_passes_with_notes(tmp_path: Path, release: str) -> None:
    (tmp_path / "sftpgo.json").write_text(json.dumps(default_config(release)))

    checked = tidegate("check", "-c", tmp_path, "--config-file", "sftpgo.json")

    assert checked.code == 0, checked.err
    assert "no problems found" in checked.out
    assert "unknown key" not in checked.err


@pytest.mark.parametrize("release", RELEASES)
def test_what_has_an_effect_has_it(tmp_path: Path, release: str) -> None:
    config = default_config(release)
    config.setdefault("common", {})["max_total_connections"] = 7
    (tmp_path / "sftpgo.json").write_text(json.dumps(config))

    settings = load(tmp_path, "sftpgo.json", {}).settings

    assert settings.common.max_total_connections == 7
    assert settings.common.idle_timeout == 15
    assert [binding.port for binding in settings.sftpd.bindings] == [2022]
    assert [binding.port for binding in settings.httpd.bindings] == [8080]
    assert settings.data_provider.name == "sftpgo.db"
    assert str(settings.data_provider.backups_path) == "backups"


@pytest.mark.parametrize(
    ("release", "keys"),
    [
        ("2.3", {"data_provider.auto_backup"}),
        ("2.6", {"sftpd.min_dh_group_exchange_key_size"}),
        ("2.7", {"common.secret_min_entropy"}),
    ],
)
def test_keys_that_switch_something_on_are_named(tmp_path: Path, release: str, keys: set[str]) -> None:
    (tmp_path / "sftpgo.json").write_text(json.dumps(default_config(release)))

    notes = load(tmp_path, "sftpgo.json", {}).notes

    for key in keys:
        assert any(f"{key}: not available in this version" in note for note in notes), (key, notes)


def test_every_release_has_its_keys_and_a_slip_in_one_is_still_an_error(tmp_path: Path) -> None:
    assert {path.partition(".")[0] for path, *_ in KEYS} <= set(default_config("2.7"))
    config = default_config("2.7")
    config["sftpd"]["max_auth_trys"] = 3
    (tmp_path / "sftpgo.json").write_text(json.dumps(config))

    checked = tidegate("check", "-c", tmp_path, "--config-file", "sftpgo.json")

    assert checked.code == 1
    assert "max_auth_trys: unknown key" in checked.err


@pytest.mark.parametrize("section", ["ftpd", "webdavd"])
def test_bindings_without_a_certificate_have_that_of_their_section(section: str) -> None:
    own = {"certificate_file": "own.pem", "certificate_key_file": "own.key"}
    https = {"enable_https": True} if section == "webdavd" else {"tls_mode": 1}
    given = {
        "certificate_file": "all.pem",
        "certificate_key_file": "all.key",
        "bindings": [{"port": 1, **https}, {"port": 2, **https, **own}],
    }
    found = getattr(Settings.model_validate({section: given}), section)
    assert [(one.certificate_file, one.certificate_key_file) for one in found.bindings] == [
        ("all.pem", "all.key"),
        ("own.pem", "own.key"),
    ]
    assert given["bindings"][0] == {"port": 1, **https}  # what was written stays as it was
    with pytest.raises(ValidationError, match="needed together"):
        Settings.model_validate({section: {"certificate_file": "all.pem"}})
    with pytest.raises(ValidationError, match="certificate_key_file"):  # half of one is no wish for another
        Settings.model_validate(
            {section: {**given, "bindings": [{"port": 1, **https, "certificate_file": "own.pem"}]}}
        )


@pytest.mark.parametrize("section", ["ftpd", "webdavd", "httpd"])
def test_cipher_suites_have_names_that_are_known(section: str) -> None:
    def made(*names: str) -> Settings:
        return Settings.model_validate({section: {"bindings": [{"port": 0, "tls_cipher_suites": [*names]}]}})

    assert made("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    for bad in ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_RSA_WITH_RC4_128_SHA", "ALL", "@SECLEVEL=0"):
        with pytest.raises(ValueError, match="expected names such as TLS_ECDHE_RSA"):
            made("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", bad)


@pytest.mark.parametrize("name", ["a b", "-x", "x..y", "x\n", "a" * 64, "http://x"])
def test_the_host_of_pasv_is_a_host_name(name: str) -> None:
    for good in ("files.example.com", "files", "_ftp.example.com.", "203.0.113.7"):
        Settings.model_validate({"ftpd": {"bindings": [{"port": 0, "passive_host": good}]}})
    with pytest.raises(ValueError, match="match pattern"):
        Settings.model_validate({"ftpd": {"bindings": [{"port": 0, "passive_host": name}]}})


@pytest.mark.parametrize(
    "document",
    [
        {"ftpd": {"banner": "Welcome\r\n230 Logged in"}},
        {"webdavd": {"cache": {"mime_types": {"custom_mappings": [{"ext": "x.a", "mime": "text/plain"}]}}}},
        {"webdavd": {"cache": {"mime_types": {"custom_mappings": [{"ext": ".a", "mime": "a/b\r\nX: y"}]}}}},
    ],
)
def test_patterns_are_about_the_whole_text(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="match pattern"):
        Settings.model_validate(document)


def test_cross_origin_requests_of_webdav_are_acted_on(tmp_path: Path) -> None:
    config = default_config("2.7")
    config["webdavd"]["cors"] |= {"enabled": True, "allowed_origins": ["https://*.example.com"]}
    config["httpd"]["cors"] |= {"enabled": True, "allowed_origins": ["https://*.example.com"]}
    (tmp_path / "sftpgo.json").write_text(json.dumps(config))

    checked = tidegate("check", "-c", tmp_path, "--config-file", "sftpgo.json")
    noted = " ".join((checked.out + checked.err).split())

    assert "webdavd.cors" not in noted
    assert "httpd.cors: not available" in noted


@pytest.mark.parametrize(
    "cors",
    [
        {"allowed_origins": ["app.example.com"]},
        {"allowed_origins": ["https://app.example.com/"]},
        {"allowed_origins": ["https://*.*.example.com"]},
        {"allowed_methods": ["GET, PUT"]},
        {"exposed_headers": ["ETag\r\nX: y"]},
        {"options_success_status": 100},
    ],
)
def test_origins_methods_and_headers_of_webdav_are_what_they_seem(cors: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        Settings.model_validate({"webdavd": {"cors": cors}})
