# SPDX-License-Identifier: Apache-2.0
"""Settings of programs, as recorded: variables of all, of one, arguments, and the hook they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate.config.load import load
from tidegate.errors import ConfigError
from tidegate.server.outgoing import command_options, http_options

RECORDED: dict[str, Any] = {
    "timeout": 20,
    "env": ["GLOB=1"],
    "commands": [
        {"path": "/bin/act", "timeout": 10, "env": ["ONLY=act=1"], "args": ["--mode", "x"], "hook": ""},
        {"path": "/bin/postconnect", "env": ["PC=1"], "args": ["pc"], "hook": "post_connect"},
        {"path": "/bin/prelogin", "args": ["wrong"], "hook": "post_login"},
    ],
}


def loaded(directory: Path, **sections: Any) -> Any:
    import json

    (directory / "tidegate.json").write_text(json.dumps(sections))
    return load(directory, "tidegate", {})


def test_what_single_programs_get(tmp_path: Path) -> None:
    options = command_options(loaded(tmp_path, command=RECORDED))
    call = options.call(
        "/bin/act", "fs_actions", {"SFTPGO_ACTION": "upload"}, args=("upload",), source="1.2.3.4"
    )
    assert call.argv == ("/bin/act", "--mode", "x", "upload")
    assert call.env == {"GLOB": "1", "ONLY": "act=1", "SFTPGO_ACTION": "upload"}
    assert (call.seconds, call.source) == (10.0, "1.2.3.4")
    call = options.call("/bin/postconnect", "post_connect", {})
    assert (call.argv, call.env, call.seconds) == (("/bin/postconnect", "pc"), {"GLOB": "1", "PC": "1"}, 20.0)
    assert options.call("/bin/postconnect", "post_disconnect", {}).argv == ("/bin/postconnect",)
    assert options.call("/bin/prelogin", "pre_login", {}).argv == ("/bin/prelogin",)


def test_a_time_that_nobody_chose_is_that_of_the_use(tmp_path: Path) -> None:
    options = command_options(
        loaded(tmp_path, command={"timeout": 30, "commands": [{"path": "/a", "timeout": 5}]})
    )
    assert options.call("/bin/x", "startup", {}).seconds == 30
    assert options.call("/bin/x", "keyboard_interactive", {}, seconds=60).seconds == 60
    assert options.call("/a", "keyboard_interactive", {}, seconds=60).seconds == 5


@pytest.mark.parametrize("env", [["NAME"], ["=x"], ["Ü=1"]])
def test_a_line_that_is_no_variable_is_named(tmp_path: Path, env: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"command.env: line 2 is not NAME=value"):
        loaded(tmp_path, command={"env": ["A=1", *env]})


def test_http_section(tmp_path: Path) -> None:
    section = {
        "timeout": 5, "retry_wait_min": 1, "retry_wait_max": 2, "retry_max": 4, "ca_certificates": ["ca.pem"],
        "certificates": [{"cert": "c.pem", "key": "/etc/k.pem"}], "skip_tls_verify": True,
        "headers": [{"key": "X-A", "value": "v", "url": "https://h/"}, {"key": "", "value": "", "url": ""}],
    }  # fmt: skip
    options = http_options(loaded(tmp_path, http=section))
    assert (options.seconds, options.wait_min, options.wait_max, options.retries) == (5, 1, 2, 4)
    assert options.authorities == [tmp_path / "ca.pem"]
    assert options.certificates == [(tmp_path / "c.pem", Path("/etc/k.pem"))]
    assert not options.verify
    assert [(one.name, one.value, one.url) for one in options.headers] == [("X-A", "v", "https://h/")]
    assert "'v'" not in repr(options.headers)
