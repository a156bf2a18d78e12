# SPDX-License-Identifier: Apache-2.0
"""Loading: formats are equal, the stronger source wins, every mistake is named."""

import json
from pathlib import Path

import pytest
import tomli_w
import yaml

from tidegate.config.load import Loaded, load
from tidegate.config.schema import HttpBinding, Settings, SftpBinding
from tidegate.errors import ConfigError

DOCUMENT = {
    "common": {"idle_timeout": 7, "umask": "0027", "fsync": True},
    "sftpd": {
        "bindings": [{"port": 2022, "address": "127.0.0.1"}, {"port": 2023}],
        "host_keys": ["id_a", "keys/id b"],
        "ciphers": ["aes256-gcm@openssh.com", "aes128-ctr"],
        "fast_lane": False,
        "banner": "x_y",
    },
    "data_provider": {
        "driver": "postgresql",
        "password": 'p"ä$1#{',
        "password_hashing": {"argon2_options": {"memory": 1024}},
        "password_validation": {"users": {"min_entropy": 60.5}},
    },
    "httpd": {"bindings": [{"port": 0}]},
}

HCL = """
common {
  idle_timeout = 7   # minutes
  umask        = "0027"
  fsync        = true
}
sftpd {
  bindings {
    port    = 2022
    address = "127.0.0.1"
  }
  bindings { port = 2023 }
  host_keys = ["id_a", "keys/id b"]
  ciphers   = ["aes256-gcm@openssh.com", "aes128-ctr"]
  fast_lane = false
  banner    = "x_y"
}
data_provider = {
  driver   = "postgresql"
  password = "p\\"ä$1#{"
  password_hashing = { argon2_options = { memory = 1024 } }
  password_validation = { users = { min_entropy = 60.5 } }
}
httpd {
  bindings { port = 0 }
}
"""

PROPERTIES = """
# comment
common.idle_timeout = 7
common.umask: 0027
common.fsync=true
sftpd.bindings.0.port=2022
sftpd.bindings[0].address=127.0.0.1
sftpd.bindings.1.port=2023
sftpd.host_keys=id_a,keys/id b
sftpd.ciphers.0=aes256-gcm@openssh.com
sftpd.ciphers.1=aes128-ctr
sftpd.fast_lane=no
sftpd.banner=x_y
data_provider.driver=postgresql
data_provider.password=p"\\u00e4$1#{
data_provider.password_hashing.argon2_options.memory=1024
data_provider.password_validation.users.min_entropy=60.5
httpd.bindings.0.port=0
"""

ENV = """
export TIDEGATE_COMMON__IDLE_TIMEOUT=7
COMMON__UMASK=0027
common.fsync=true
SFTPD__BINDINGS='[{"port": 2022, "address": "127.0.0.1"}, {"port": 2023}]'
SFTPGO_SFTPD__HOST_KEYS="id_a,keys/id b"
SFTPD__CIPHERS=aes256-gcm@openssh.com,aes128-ctr
SFTPD__FAST_LANE=0
SFTPD__BANNER=x_y
DATA_PROVIDER__DRIVER=postgresql
DATA_PROVIDER__PASSWORD='p"ä$1#{'
DATA_PROVIDER__PASSWORD_HASHING__ARGON2_OPTIONS__MEMORY=1024
DATA_PROVIDER__PASSWORD_VALIDATION__USERS__MIN_ENTROPY=60.5
HTTPD__BINDINGS__0__PORT=0
"""

FORMATS = {
    "tidegate.json": json.dumps(DOCUMENT),
    "tidegate.toml": tomli_w.dumps(DOCUMENT),
    "tidegate.yaml": yaml.safe_dump(DOCUMENT, allow_unicode=True),
    "tidegate.yml": "\ufeff" + yaml.safe_dump(DOCUMENT),
    "tidegate.hcl": HCL,
    "tidegate.properties": PROPERTIES,
    "tidegate.env": ENV,
}


def problems(config_dir: Path, environ: dict[str, str] | None = None, name: str = "tidegate") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config_dir, name, environ or {})
    return [str(problem) for problem in caught.value.problems]


def of_json(tmp_path: Path, document: object, environ: dict[str, str] | None = None) -> Loaded:
    path = tmp_path / "tidegate.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return load(tmp_path, "tidegate", environ or {})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("with_extension", [True, False])
def test_every_format_says_the_same(tmp_path: Path, name: str, with_extension: bool) -> None:
    (tmp_path / name).write_text(FORMATS[name], encoding="utf-8")

    loaded = load(tmp_path, name if with_extension else "tidegate", {})

    assert loaded.settings == Settings.model_validate(DOCUMENT)
    assert loaded.settings.sftpd.bindings == [
        SftpBinding(port=2022, address="127.0.0.1"),
        SftpBinding(port=2023),
    ]
    assert loaded.file == tmp_path / name
    assert str(loaded.origin(("sftpd", "fast_lane"))).startswith(f"{tmp_path / name}: ")


def test_nothing_at_all_is_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, "tidegate", {"PATH": "/bin", "TIDEGATE_DEBUG": "1", "TIDEGATE_CONFIG_DIR": "."})

    assert loaded.settings == Settings()
    assert loaded.notes == ()
    assert loaded.file is None
    assert str(loaded.origin(("common", "idle_timeout"))) == "default"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    assert problems(tmp_path, name="other.toml") == [f"{tmp_path}/other.toml: no such configuration file"]
    assert problems(tmp_path, name="other") == [
        f"{tmp_path}/other: no such configuration file (.json, .toml, .yaml, ...)"
    ]


def test_two_files_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text("{}")
    (tmp_path / "tidegate.toml").write_text("")

    assert problems(tmp_path) == [
        f"{tmp_path}/tidegate.json: more than one configuration file: also tidegate.toml"
    ]


def test_absolute_names_and_relative_values(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.toml").write_text("[common]\nidle_timeout = 3\n")

    loaded = load(tmp_path, str(elsewhere / "x.toml"), {})

    assert loaded.settings.common.idle_timeout == 3
    assert loaded.resolve("id_rsa") == tmp_path / "id_rsa"
    assert loaded.resolve("/etc/x") == Path("/etc/x")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("json", "{", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
        ("json", '{"sftpd": {"banner": "a", "banner": "b"}}', "key 'banner' is given twice"),
        ("json", "[]", "expected a table of sections at the top"),
        ("json", "[" * 5000, "nested deeper than 32 levels"),
        ("json", '{"kms":' * 40 + "1" + "}" * 40, "nested deeper than 32 levels"),
        ("toml", "a = ", "not TOML: Invalid value (at end of document)"),
        ("yaml", "a: [", "not YAML: expected the node content, but found '<stream end>' at line 1 column 5"),
        ("yaml", "common:\n  umask: x\n  umask: y\n", "key 'umask' is given twice (line 2)"),
        ("yaml", "a: &a [x]\nb: *a\n", "YAML aliases are not accepted"),
        ("yaml", "!!python/object/apply:os.system ['true']", "not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system' at line 1 column 1"),
        ("hcl", "sftpd {", "not HCL"),
        ("hcl", "sftpd { banner = var.x }", "sftpd.banner: expressions are not supported: ${var.x}"),
        ("hcl", 'sftpd { banner = "${env.HOME}" }', 'templates are not supported: "${env.HOME}"'),
        ("hcl", "common {\n}\ncommon {\n}\n", "block common is given twice"),
        ("properties", "common.umask=1\ncommon.umask=2", "key 'common.umask' is given twice"),
        ("properties", "a=\\u12", "not Java properties: Invalid \\u escape sequence: \\u12"),
        ("env", "COMMON__UMASK 7", "line 1 is not KEY=VALUE"),
    ],
)  # fmt: skip
def test_malformed_files_are_one_problem(tmp_path: Path, name: str, text: str, problem: str) -> None:
    path = tmp_path / f"tidegate.{name}"
    path.write_text(text)

    found = problems(tmp_path)

    assert len(found) == 1
    assert found[0].startswith(f"{path}: {problem}")
    assert "\n" not in found[0]


def test_files_that_cannot_be_text(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.json"
    path.write_bytes(b'{"a": "\xff"}')
    assert problems(tmp_path) == [f"{path}: not UTF-8 text (byte 7)"]

    with path.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    assert problems(tmp_path) == [f"{path}: longer than 4194304 bytes"]


def test_every_mistake_is_listed_with_place_and_expectation(tmp_path: Path) -> None:
    document = {
        "sftpd": {
            "bindings": [{"port": "2022"}, {"port": 70000, "adress": "x"}],
            "bind_prot": 1,
            "ciphers": "aes",
            "banner": "two words",
            "enabled_ssh_commands": ["cd", "bash"],
        },
        "common": {"idle_timeout": True, "umask": 18, "fsync": 1, "upload_mode": 3, "ciphers": []},
        "data_provider": {"driver": "sqlit", "password": 1234, "password_hashing": {"algo": "md5"}, "users_base_dir": "x"},
        "httpd": {"bindings": [{"enable_https": True}], "idle_timeout": 4},
        "sftp": {},
    }  # fmt: skip
    (tmp_path / "tidegate.json").write_text(json.dumps(document))
    place = f"{tmp_path}/tidegate.json: "

    found = problems(tmp_path)

    assert sorted(text.removeprefix(place) for text in found) == sorted(
        [
            "sftpd.bindings[0].port: expected a whole number, got '2022'",
            "sftpd.bindings[1].port: expected 65535 or less, got 70000",
            "sftpd.bindings[1].adress: unknown key; did you mean sftpd.bindings.address?",
            "sftpd.bind_prot: unknown key; did you mean sftpd.bind_port?",
            "sftpd.ciphers: expected a list, got 'aes'",
            "sftpd.banner: expected up to 200 printable ASCII characters without space and minus, got 'two words'",
            (
                "sftpd.enabled_ssh_commands: unknown SSH command 'bash', expected some of *, md5sum, sha1sum, sha256sum, "
                "sha384sum, sha512sum, b3sum, crc32sum, cd, pwd, scp, df, tidegate-copy, tidegate-remove, sftpgo-copy, sftpgo-remove, "
                "git-receive-pack, git-upload-pack, git-upload-archive, rsync"
            ),
            "common.idle_timeout: expected a whole number, got true",
            "common.umask: expected a text (in quotes), got 18",
            "common.fsync: expected true or false, got 1",
            "common.upload_mode: expected 2 or less, got 3",
            "common.ciphers: unknown key; did you mean sftpd.ciphers?",
            "data_provider.driver: expected one of 'sqlite', 'postgresql', 'mysql', 'bolt' or 'memory', got 'sqlit'",
            "data_provider.password: expected a text (in quotes)",
            "data_provider.password_hashing.algo: expected one of 'argon2id' or 'bcrypt', got 'md5'",
            "data_provider.users_base_dir: expected an absolute path, got 'x'",
            "httpd.bindings[0]: enable_https needs certificate_file and certificate_key_file",
            "httpd.idle_timeout: unknown key; did you mean httpd.head_timeout?",
            "sftp: unknown key; did you mean sftpd?",
        ]
    )


def test_environment_needs_no_file(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "tidegate",
        {
            "TIDEGATE_SFTPD__BIND_PORT": "2222",
            "TIDEGATE_SFTPD__CIPHERS": "a, b ,c",
            "TIDEGATE_SFTPD__MACS": '["x,y", "z"]',
            "TIDEGATE_SFTPD__KEX_ALGORITHMS": "",
            "TIDEGATE_HTTPD__BINDINGS__0__PORT": "81",
            "TIDEGATE_HTTPD__BINDINGS__1__PORT": "82",
            "TIDEGATE_COMMON__FSYNC": "yes",
            "TIDEGATE_COMMON__UMASK": "077",
        },
    )

    settings = loaded.settings
    assert settings.sftpd.bindings == [SftpBinding(port=2222)]
    assert settings.sftpd.ciphers == ["a", "b", "c"]
    assert settings.sftpd.macs == ["x,y", "z"]
    assert settings.sftpd.kex_algorithms == []
    assert settings.httpd.bindings == [HttpBinding(port=81), HttpBinding(port=82)]
    assert (settings.common.fsync, settings.common.umask) == (True, "077")
    assert str(loaded.origin(("sftpd", "bindings", 0, "port"))) == "TIDEGATE_SFTPD__BIND_PORT"


def test_precedence_ours_then_theirs_then_file(tmp_path: Path) -> None:
    document = {
        "common": {"idle_timeout": 1, "upload_mode": 1, "setstat_mode": 1},
        "sftpd": {"ciphers": ["a", "b", "c"], "bindings": [{"port": 1, "address": "::1"}, {"port": 2}]},
    }
    loaded = of_json(
        tmp_path,
        document,
        {
            "TIDEGATE_COMMON__IDLE_TIMEOUT": "3",
            "SFTPGO_COMMON__IDLE_TIMEOUT": "2",
            "SFTPGO_COMMON__UPLOAD_MODE": "2",
            "TIDEGATE_SFTPD__CIPHERS": "d",
            "TIDEGATE_SFTPD__BINDINGS__0__PORT": "10",
        },
    )

    common, sftpd = loaded.settings.common, loaded.settings.sftpd
    assert (common.idle_timeout, common.upload_mode, common.setstat_mode) == (3, 2, 1)
    assert sftpd.ciphers == ["d"]
    assert sftpd.bindings == [SftpBinding(port=10, address="::1"), SftpBinding(port=2)]
    assert str(loaded.origin(("common", "idle_timeout"))) == "TIDEGATE_COMMON__IDLE_TIMEOUT"
    assert str(loaded.origin(("common", "upload_mode"))) == "SFTPGO_COMMON__UPLOAD_MODE"
    assert str(loaded.origin(("common", "setstat_mode"))) == f"{tmp_path}/tidegate.json: common.setstat_mode"


def test_env_d_gives_what_the_environment_does_not(tmp_path: Path) -> None:
    directory = tmp_path / "env.d"
    directory.mkdir()
    (directory / "10-a.env").write_text(
        "TIDEGATE_COMMON__IDLE_TIMEOUT=4\nTIDEGATE_COMMON__UPLOAD_MODE=1\n# x\n"
    )
    (directory / "20-b").write_text("TIDEGATE_COMMON__UPLOAD_MODE=2\nTIDEGATE_COMMON__FSYNC='true'\n")

    loaded = load(tmp_path, "tidegate", {"TIDEGATE_COMMON__IDLE_TIMEOUT": "9"})

    common = loaded.settings.common
    assert (common.idle_timeout, common.upload_mode, common.fsync) == (9, 1, True)
    assert (
        str(loaded.origin(("common", "upload_mode"))) == f"{directory}/10-a.env: TIDEGATE_COMMON__UPLOAD_MODE"
    )

    (directory / "30-c").write_text("TIDEGATE_COMMON__FSYN=1\njunk\n")
    assert problems(tmp_path) == [f"{directory}/30-c: line 2 is not KEY=VALUE"]
    (directory / "30-c").write_text("TIDEGATE_COMMON__FSYN=1\n")
    assert problems(tmp_path) == [
        f"{directory}/30-c: TIDEGATE_COMMON__FSYN: unknown variable; did you mean TIDEGATE_COMMON__FSYNC?"
    ]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TIDEGATE_SFTPD__BIND_PRT", "1", "unknown variable; did you mean TIDEGATE_SFTPD__BIND_PORT?"),
        ("TIDEGATE_SFTP__BIND_PORT", "1", "unknown variable; did you mean TIDEGATE_SFTPD__BIND_PORT?"),
        ("TIDEGATE_SFTPD_BIND_PORT", "1", "unknown variable; did you mean TIDEGATE_SFTPD__BIND_PORT?"),
        ("SFTPGO_SFTPD__BIND_PRT", "1", "unknown variable; did you mean SFTPGO_SFTPD__BIND_PORT?"),
        ("TIDEGATE_SFTPD__BIND_PORT", "ssh", "expected a whole number, got 'ssh'"),
        ("TIDEGATE_COMMON__FSYNC", "maybe", "expected true or false, got 'maybe'"),
        ("TIDEGATE_SFTPD__BINDINGS__2__PORT", "1", "index 2 without index 0"),
        ("TIDEGATE_SFTPD__BINDINGS", "1", "expected a table, got 1"),
        ("TIDEGATE_DATA_PROVIDER__SSLMODE", "9", "expected 3 or less, got 9"),
    ],
)
def test_wrong_variables_are_named(tmp_path: Path, name: str, value: str, problem: str) -> None:
    assert problems(tmp_path, {name: value}) == [f"{name}: {problem}"]


def test_variables_of_an_orchestrator_are_not_ours(tmp_path: Path) -> None:
    made_for_a_service = {
        "TIDEGATE_SFTPD_PORT": "tcp://10.0.0.7:2022",
        "TIDEGATE_SFTPD_SERVICE_HOST": "10.0.0.7",
        "TIDEGATE_SFTPD_SERVICE_PORT_SSH": "2022",
        "TIDEGATE_SFTPD_PORT_2022_TCP_ADDR": "10.0.0.7",
        "SFTPGO_ACTION": "upload",
    }

    assert load(tmp_path, "tidegate", made_for_a_service).settings == Settings()


def test_older_names_move(tmp_path: Path) -> None:
    loaded = of_json(
        tmp_path,
        {
            "sftpd": {
                "bind_port": 22,
                "bind_address": "::",
                "idle_timeout": 5,
                "umask": "0077",
                "upload_mode": 2,
                "keys": [{"private_key": "id_rsa"}, {"private_key": "id_ecdsa"}],
            },
            "httpd": {"bind_port": 8081, "backups_path": "b"},
        },
    )

    settings = loaded.settings
    assert settings.sftpd.bindings == [SftpBinding(port=22, address="::")]
    assert settings.sftpd.host_keys == ["id_rsa", "id_ecdsa"]
    assert settings.common.idle_timeout == 5
    assert (settings.common.umask, settings.common.upload_mode) == ("0077", 2)
    assert settings.httpd.bindings == [HttpBinding(port=8081)]
    assert settings.data_provider.backups_path == "b"
    assert loaded.notes == ()
    assert str(loaded.origin(("common", "umask"))) == f"{tmp_path}/tidegate.json: sftpd.umask"


def test_a_mistake_under_an_older_name_is_told_by_that_name(tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text('{"sftpd": {"idle_timeout": "x", "keys": [{"private_key": 3}]}}')

    assert sorted(problems(tmp_path)) == [
        f"{tmp_path}/tidegate.json: sftpd.idle_timeout: expected a whole number, got 'x'",
        f"{tmp_path}/tidegate.json: sftpd.keys[0].private_key: expected a text (in quotes), got 3",
    ]


def test_todays_name_wins_within_a_source_and_the_loser_is_named(tmp_path: Path) -> None:
    loaded = of_json(
        tmp_path,
        {"sftpd": {"bind_port": 22, "bindings": [{"port": 23}], "umask": "077"}, "common": {"umask": "022"}},
    )

    assert loaded.settings.sftpd.bindings == [SftpBinding(port=23)]
    assert loaded.settings.common.umask == "022"
    assert loaded.notes == (
        f"{tmp_path}/tidegate.json: sftpd.bind_port: ignored, sftpd.bindings is given too",
        f"{tmp_path}/tidegate.json: sftpd.umask: ignored, common.umask is given too",
    )


def test_the_stronger_source_wins_whatever_name_it_uses(tmp_path: Path) -> None:
    loaded = of_json(
        tmp_path,
        {"common": {"idle_timeout": 1}, "sftpd": {"bindings": [{"port": 23, "address": "::1"}]}},
        {"TIDEGATE_SFTPD__IDLE_TIMEOUT": "9", "SFTPGO_SFTPD__BIND_PORT": "24"},
    )

    assert loaded.settings.common.idle_timeout == 9
    assert loaded.settings.sftpd.bindings == [SftpBinding(port=24, address="::1")]


def test_what_is_not_built_is_accepted_and_said_once(tmp_path: Path) -> None:
    loaded = of_json(
        tmp_path,
        {
            "common": {"resume_max_size": 9, "temp_path": "/x"},
            "sftpd": {"enabled_ssh_commands": ["cd", "sftpgo-copy"], "enable_scp": True},
        },
        {"TIDEGATE_TELEMETRY__ENABLE_PROFILER": "true"},
    )

    place = f"{tmp_path}/tidegate.json: "
    assert set(loaded.notes) == {
        f"{place}common.resume_max_size: not available in this version, no effect",
        f"{place}common.temp_path: not available in this version, no effect",
        "TIDEGATE_TELEMETRY__ENABLE_PROFILER: not available in this version, no effect",
    }  # fmt: skip
    assert len(loaded.notes) == 3


def test_what_is_switched_off_is_not_worth_a_word(tmp_path: Path) -> None:
    loaded = of_json(
        tmp_path,
        {
            "common": {
                "defender": {"enabled": False, "threshold": 15},
                "rate_limiters": [{"average": 0, "period": 1000, "burst": 1, "protocols": ["SSH"]}],
                "actions": {"execute_on": [], "hook": ""},
                "proxy_protocol": 0,
            },
            "ftpd": {
                "bindings": [{"port": 0, "tls_mode": 1}],
                "passive_port_range": {"start": 50000, "end": 50100},
            },
            "webdavd": {"bindings": []},
            "telemetry": {"bind_port": 0, "bind_address": "127.0.0.1"},
            "smtp": {"host": "", "port": 587},
            "acme": {"domains": [], "key_type": "4096"},
            "kms": {"secrets": {"url": "", "master_key": ""}},
            "plugins": [],
            "httpd": {"templates_path": "templates"},
        },
    )

    assert loaded.notes == ()


def test_a_secret_that_everybody_can_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.json"
    path.write_text('{"data_provider": {"password": "x"}}')
    path.chmod(0o644)

    assert load(tmp_path, "tidegate", {}).notes == (
        f"{path}: holds a secret and everybody on this host can read it; chmod 640 tidegate.json",
    )
    path.chmod(0o640)
    assert load(tmp_path, "tidegate", {}).notes == ()


def test_a_wrong_secret_is_not_shown(tmp_path: Path) -> None:
    found = problems(tmp_path, {"TIDEGATE_HTTPD__SIGNING_PASSPHRASE__X": "hunter2"})

    assert found == [
        "TIDEGATE_HTTPD__SIGNING_PASSPHRASE__X: unknown variable; did you mean TIDEGATE_HTTPD__SIGNING_PASSPHRASE?"
    ]
