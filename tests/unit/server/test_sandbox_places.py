# SPDX-License-Identifier: Apache-2.0
"""The places that a sandbox keeps, as the configuration tells them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tidegate.config.load import Loaded, load
from tidegate.errors import ConfigError
from tidegate.server import sandbox
from tidegate.server.sandbox import Places, sandbox_places


@pytest.fixture(autouse=True)
def _landlock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 7)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


def loaded(tmp_path: Path, **sections: Any) -> Loaded:
    directory = tmp_path / "config"
    directory.mkdir(exist_ok=True)
    variables = {
        f"TIDEGATE_{section.upper()}__{name.upper()}": ",".join(value)
        if isinstance(value, list)
        else str(value)
        for section, keys in sections.items()
        for name, value in keys.items()
    }
    return load(directory, "tidegate", variables)


def places(tmp_path: Path, **sections: Any) -> Places:
    found = sandbox_places(
        loaded(tmp_path, sandbox={"mode": "on", **sections.pop("sandbox", {})}, **sections)
    )
    assert found is not None
    return found


def made(path: Path, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)
    return path


def test_off_and_auto_without_landlock_keep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox_places(loaded(tmp_path)) is None
    assert sandbox_places(loaded(tmp_path, sandbox={"mode": "auto"})) is not None
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 1)
    assert sandbox_places(loaded(tmp_path, sandbox={"mode": "auto"})) is None
    assert sandbox_places(loaded(tmp_path, sandbox={"mode": "on"})) is not None


def test_homes_lie_in_the_configuration_directory_the_base_and_what_is_listed(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "more")
    found = places(
        tmp_path,
        sandbox={"writable": [str(tmp_path / "way")]},
        data_provider={"users_base_dir": tmp_path / "homes"},
    )

    for inside in ("config/files/a", "homes", "homes/a/b", "more/a", "way/a"):
        assert found.refusal(str(tmp_path / inside)) is None
    for outside in ("", "homes2", "temporary/a", "homes/../x", "configuration"):
        why = found.refusal(str(tmp_path / outside))
        assert why is not None
        assert "sandbox.writable" in why
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes" / "out").symlink_to("/etc")
    assert found.refusal(str(tmp_path / "homes" / "out")) is not None
    assert found.refusal(str(tmp_path / "homes" / "out"), links=False) is None


def test_what_is_worked_in_may_be_changed_and_is_no_place_for_homes(tmp_path: Path) -> None:
    found = sandbox_places(
        loaded(
            tmp_path,
            sandbox={"mode": "on"},
            data_provider={"name": tmp_path / "db" / "t.db", "backups_path": tmp_path / "dumps"},
            inspection={"quarantine__directory": tmp_path / "apart"},
        ),
        str(tmp_path / "log" / "t.log"),
    )

    assert found is not None
    assert found.homes == (str(tmp_path / "config"),)
    assert set(found.writable) == {
        str(tmp_path / name) for name in ("config", "temporary", "db", "dumps", "log", "apart")
    }


def test_files_of_settings_are_read_with_their_directory_and_what_their_link_leads_to(tmp_path: Path) -> None:
    real = made(tmp_path / "archive" / "cert1.pem")
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "cert.pem").symlink_to(real)
    found = places(tmp_path, http={"ca_certificates": [str(tmp_path / "live" / "cert.pem")]})

    assert {str(tmp_path / "live"), str(tmp_path / "archive")} <= set(found.readable)
    assert str(tmp_path) not in found.readable


def test_programs_are_executed_where_they_are_and_homes_beside_them_are_not(tmp_path: Path) -> None:
    elsewhere = made(tmp_path / "programs" / "hook", 0o755)
    inside = made(tmp_path / "config" / "hook.sh", 0o755)
    above = made(tmp_path / "data" / "hook", 0o755)
    found = places(
        tmp_path,
        common={"startup_hook": elsewhere, "post_connect_hook": inside, "post_disconnect_hook": above},
        data_provider={"users_base_dir": tmp_path / "data" / "homes"},
    )

    assert str(elsewhere.parent) in found.readable
    assert found.programs == (str(inside),)
    assert str(above) in found.readable
    assert not {str(tmp_path / "config"), str(tmp_path / "data")} & set(found.readable)


def test_secrets_that_look_like_paths_are_none(tmp_path: Path) -> None:
    secret = made(tmp_path / "open" / "file")
    found = places(tmp_path, data_provider={"password": secret})

    assert str(secret.parent) not in found.readable


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"sandbox\.readable: /no/such is not there"):
        places(tmp_path, sandbox={"readable": ["/no/such"]})
    for wrong in ("relative", "/", "//"):
        with pytest.raises(ConfigError, match=r"SANDBOX__WRITABLE.*absolute paths below /"):
            places(tmp_path, sandbox={"writable": [wrong]})
    with pytest.raises(ConfigError, match=r"sandbox\.mode needs sandbox\.no_new_privileges"):
        places(tmp_path, sandbox={"no_new_privileges": "false"})
    with pytest.raises(ConfigError, match="no namespace"):
        loaded(tmp_path, sandbox={"mode": "on"}, sftpd={"programs__confinement": "strict"})
    monkeypatch.setattr(os.path, "realpath", lambda path: "/")
    with pytest.raises(ConfigError, match="configuration directory is /"):
        places(tmp_path)
