# SPDX-License-Identifier: Apache-2.0
"""Names an operator may mistype or bring along: unknown variables, keys of older configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.command_line import tidegate

from tidegate.cli import main as cli_main
from tidegate.config.environment import FLAG_VARIABLES
from tidegate.config.load import load
from tidegate.config.schema import Settings


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("TIDEGATE_CONFIG_DRI", "; did you mean TIDEGATE_CONFIG_DIR?"),
        ("TIDEGATE_LOG_LEVL", "; did you mean TIDEGATE_LOG_LEVEL?"),
        ("TIDEGATE_COMON__UPLOAD_MODE", "; did you mean TIDEGATE_COMMON__UPLOAD_MODE?"),
        ("TIDEGATE_QQ", ""),
        ("SFTPGO_COMON__UPLOAD_MODE", "; did you mean SFTPGO_COMMON__UPLOAD_MODE?"),
        ("SFTPGO_COMON__X", ""),
    ],
)
def test_an_unknown_variable_is_an_error_with_the_nearest(tmp_path: Path, name: str, near: str) -> None:
    result = tidegate("check", "-c", tmp_path, environ={name: "1"})

    assert result.code == 1
    assert result.err == f"tidegate: {name}: unknown variable{near}\n" or (
        not near and result.err.startswith(f"tidegate: {name}: unknown variable")
    )


def test_a_name_without_prefix_in_env_d_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "env.d" / "tidegate.env"
    file.parent.mkdir()
    file.write_text("COMMON__UPLOAD_MODE=1\nTIDEGATE_CONFIG_DRI=x\nOTHER=1\n")

    result = tidegate("config", "show", "-c", tmp_path)

    assert result.code == 1
    assert result.err.splitlines() == [
        f"tidegate: {file}: COMMON__UPLOAD_MODE: unknown variable; did you mean TIDEGATE_COMMON__UPLOAD_MODE?",
        f"tidegate: {file}: TIDEGATE_CONFIG_DRI: unknown variable; did you mean TIDEGATE_CONFIG_DIR?",
    ]


def test_names_of_the_other_server_are_left_alone(tmp_path: Path) -> None:
    """Names that SFTPGo reads itself, and those it hands to hook programs, which may start ours."""
    known = (
        "SFTPGO_LOG_VERBOSE", "SFTPGO_LOG_UTC_TIME", "SFTPGO_AUTHD_USERNAME", "SFTPGO_AUTHD_PASSWORD",
        "SFTPGO_LOGIND_USER", "SFTPGO_LOGIND_METHOD", "SFTPGO_ACTION", "SFTPGO_ACTION_PATH",
        "SFTPGO_CONNECTION_IP", "SFTPGO_PROVIDER_ACTION", "SFTPGO_LOADDATA_FROM", "SFTPGO_HOOK_DEADLINE",
        "SFTPGO_DEFAULT_ADMIN_USERNAME",
    )  # fmt: skip

    assert load(tmp_path, "tidegate", dict.fromkeys(known, "1")).settings == Settings()


def test_every_variable_of_a_flag_is_known() -> None:
    """A new flag with a variable that is not in the list would be refused as unknown."""
    import typer

    found: set[str] = set()

    def walk(command: object) -> None:
        for parameter in getattr(command, "params", ()):
            names = parameter.envvar
            found.update([names] if isinstance(names, str) else names or ())
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    group = typer.main.get_command(cli_main.app)
    for name in cli_main.COMMANDS:
        walk(group.get_command(None, name))  # type: ignore[attr-defined]
    ours = {name.removeprefix("TIDEGATE_") for name in found if name.startswith("TIDEGATE_")}
    assert ours <= set(FLAG_VARIABLES)
    assert {"CONFIG_DIR", "LOG_VERBOSE"} <= ours


def of(tmp_path: Path, document: object, environ: dict[str, str] | None = None) -> Settings:
    (tmp_path / "tidegate.json").write_text(json.dumps(document))
    return load(tmp_path, "tidegate", environ or {}).settings


def test_a_certificate_of_an_older_configuration_means_https(tmp_path: Path) -> None:
    both = {"bind_port": 8443, "certificate_file": "c.pem", "certificate_key_file": "k.pem"}
    (binding,) = of(tmp_path, {"httpd": both}).httpd.bindings
    assert (binding.port, binding.enable_https, binding.certificate_file) == (8443, True, "c.pem")

    split = of(
        tmp_path,
        {"httpd": {"certificate_file": "c.pem"}},
        {"SFTPGO_HTTPD__CERTIFICATE_KEY_FILE": "k.pem"},
    )
    assert split.httpd.bindings[0].enable_https

    for one in ({"certificate_file": "c.pem", "certificate_key_file": ""}, {"certificate_key_file": "k.pem"}):
        assert not of(tmp_path, {"httpd": one}).httpd.bindings[0].enable_https
    off = of(tmp_path, {"httpd": both}, {"TIDEGATE_HTTPD__BINDINGS__0__ENABLE_HTTPS": "false"})
    assert not off.httpd.bindings[0].enable_https


def test_check_objects_to_a_certificate_that_nothing_uses(tmp_path: Path) -> None:
    binding = {"port": 0, "certificate_file": "c.pem", "certificate_key_file": "k.pem"}
    for bindings in ([binding], [{**binding, "port": 18_443}], [{"port": 0, "certificate_file": "c.pem"}]):
        (tmp_path / "tidegate.json").write_text(json.dumps({"httpd": {"bindings": bindings}}))
        result = tidegate("check", "-c", tmp_path)
        assert result.code == 1
        assert "nothing uses this certificate: " in result.err
        assert "tidegate.json: httpd.bindings[0].certificate_file: " in result.err


def test_the_older_name_of_the_connection_string(tmp_path: Path) -> None:
    assert of(tmp_path, {"data_provider": {"connectionstring": "x"}}).data_provider.connection_string == "x"
    by_variable = of(tmp_path, {}, {"SFTPGO_DATA_PROVIDER__CONNECTIONSTRING": "y"})
    assert by_variable.data_provider.connection_string == "y"
    shown = tidegate(
        "config",
        "show",
        "-c",
        tmp_path,
        "--changed",
        environ={"SFTPGO_DATA_PROVIDER__CONNECTIONSTRING": "hunter2"},
    )
    assert "hunter2" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("given", "switch", "expected"),
    [
        (None, True, ["md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp"]),
        (["cd"], True, ["cd", "scp"]),
        (["cd"], False, ["cd"]),
        ([], True, ["scp"]),
        (["scp", "cd"], True, ["scp", "cd"]),
        (["*"], True, ["*"]),
    ],
)
def test_the_older_switch_of_scp(
    tmp_path: Path, given: list[str] | None, switch: bool, expected: list[str]
) -> None:
    sftpd = {"enable_scp": switch} | ({} if given is None else {"enabled_ssh_commands": given})

    assert of(tmp_path, {"sftpd": sftpd}).sftpd.enabled_ssh_commands == expected


def test_the_stronger_source_switches_scp(tmp_path: Path) -> None:
    document = {"sftpd": {"enable_scp": True, "enabled_ssh_commands": ["cd"]}}

    assert of(tmp_path, document, {"SFTPGO_SFTPD__ENABLE_SCP": "false"}).sftpd.enabled_ssh_commands == ["cd"]
    by_variable = of(tmp_path, {"sftpd": {"enabled_ssh_commands": ["cd"]}}, {"SFTPGO_SFTPD__ENABLE_SCP": "1"})
    assert by_variable.sftpd.enabled_ssh_commands == ["cd", "scp"]
