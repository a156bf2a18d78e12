# SPDX-License-Identifier: Apache-2.0
"""`check` and `explain` about hooks: what would be asked, what it answers, what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import tidegate
from tests.support.hook_world import HookProgram

from tidegate.config.load import load
from tidegate.errors import ConfigError
from tidegate.server.app import App


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    return directory


def configure(directory: Path, **sections: Any) -> None:
    sections = {"sftpd": {"bindings": []}, "httpd": {"bindings": []}, **sections}
    (directory / "tidegate.json").write_text(json.dumps(sections))


def test_check_names_what_cannot_be_used(tmp_path: Path, config: Path) -> None:
    hook = HookProgram(tmp_path, "hook")
    hook.path.chmod(0o777)
    configure(
        config,
        data_provider={
            "external_auth_hook": str(hook), "pre_login_hook": "http://directory.example/pre?token=hidden-token",
            "check_password_hook": "https://:8/x", "post_login_hook": "/no/such/program",
        },
        http={"ca_certificates": ["missing.pem"]},
    )  # fmt: skip
    done = tidegate("check", "-c", config, "--json")
    assert done.code == 1
    problems = {(one["where"].rpartition(": ")[2], one["what"]) for one in done.json["problems"]}
    assert problems == {
        ("data_provider.external_auth_hook", f"{hook}: everybody may write to it; chmod o-w {hook}"),
        ("data_provider.check_password_hook", "https://:8/x is no URL that can be called"),
        ("data_provider.post_login_hook", "/no/such/program: No such file or directory"),
        (
            "http.ca_certificates[0]",
            f"http.ca_certificates: {config}/missing.pem: [Errno 2] No such file or directory",
        ),
    }
    assert any("http://directory.example/pre is called in the clear" in note for note in done.json["notes"])
    assert "hidden-token" not in done.out
    assert f"hook external_auth: {hook}" in done.json["facts"]


async def test_a_server_does_not_start_with_them(tmp_path: Path, config: Path) -> None:
    configure(
        config, data_provider={"driver": "memory", "name": "", "external_auth_hook": "/no/such/program"}
    )
    app = App(load(config, "tidegate", {}), log_events=False)
    try:
        with pytest.raises(ConfigError, match="external_auth_hook: /no/such/program: No such file"):
            await app.start()
    finally:
        await app.stop()


def test_a_hook_that_is_neither_program_nor_url_is_named(config: Path) -> None:
    configure(config, data_provider={"pre_login_hook": "bin/hook"})
    done = tidegate("check", "-c", config)
    assert "pre_login_hook: expected an absolute path of a program, or a URL with http or https" in done.err


def test_explain_names_and_asks(tmp_path: Path, config: Path) -> None:
    hook, password = HookProgram(tmp_path, "extauth"), HookProgram(tmp_path, "checkpwd")
    configure(config, data_provider={"external_auth_hook": str(hook), "check_password_hook": str(password)})
    ask = ("explain", "-c", config, "--user", "e1", "--op", "upload", "--path", "/a")
    assert tidegate("initprovider", "-c", config).code == 0
    done = tidegate(*ask)
    assert done.code != 0
    assert "no such user: e1; data_provider.external_auth_hook may know them: --ask asks it" in done.err
    user = {"username": "e1", "home_dir": str(tmp_path / "e1"), "permissions": {"/": ["list"]}, "status": 1}
    hook.answers(user)
    password.answers({"status": 1})
    done = tidegate(*ask, "--ask", "--password-stdin", "--json", stdin="pw-e1\n")
    assert done.code == 3
    assert done.json["decided_by"]["rule"] == "permissions[/]"
    assert [(one["hook"], one["answer"], one["refuses"]) for one in done.json["hooks"]] == [
        ("external_auth", "answered: it is user 'e1'", False),
        ("check_password", "answered: the password is right", False),
    ]
    assert hook.calls()[0]["AUTHD_PASSWORD"] == "pw-e1"
    # Nothing was stored, and a refusal is one.
    assert "no such user" in tidegate("user", "show", "e1", "-c", config).err
    hook.answers({"username": ""})
    done = tidegate(*ask, "--ask")
    assert "no such user: e1; data_provider.external_auth_hook answered: refused" in done.err
    made = tidegate(
        "user", "add", "e1", "-c", config, "-g", "/:*", "--password-stdin", stdin="Partner-pass-1\n"
    )
    assert made.code == 0, made.err
    done = tidegate(*ask)
    assert done.code == 0
    assert f"hook external_auth: {hook}\nhook check_password: {password}\n" in done.out
    done = tidegate(*ask, "--ask")
    assert done.code == 3
    assert f"hook external_auth: {hook}: answered: refused\n" in done.out
    hook.answers("", 4)
    assert "ended by exit status 4" in tidegate(*ask, "--ask").out
    # A key meets external authentication, no check of passwords.
    assert "check_password" not in tidegate(*ask, "--method", "publickey").out
