# SPDX-License-Identifier: Apache-2.0
"""The variables of the Openbridge gateway alone start a server on a bucket; docs/how_to/move-from-openbridge.md."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from tests.support import fork_server
from tests.support.object_servers import ACCESS_KEY, SECRET, ObjectServer
from tests.support.ports import free_port

from tidegate.config.load import load
from tidegate.errors import ConfigError

PASSWORD = "a long password of tester"
GUIDE = Path(__file__).resolve().parents[2] / "docs/how_to/move-from-openbridge.md"


@pytest.fixture
def environ(seaweedfs_server: ObjectServer) -> dict[str, str]:
    """The variables of the guide, for a bucket of the tests, and some more."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "TIDEGATE_", "SFTPGO_"))}
    return {
        **kept,
        "AWS_S3BUCKET": seaweedfs_server.bucket(),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "APP_PORT": str(free_port()),
        "AWS_ENDPOINT_URL_S3": seaweedfs_server.endpoint,
        "CLAMD_STATUS": "on",
        "CLAMD_HOST": "127.0.0.1:9",  # nobody listens: files are accepted, as they were there
        "MEMCACHE_STATUS": "off",
        "MYSQL_HOST": "172.17.0.1",
        "APP_SYSTEM_PASSWORD": "never shown",
        "TIDEGATE_HTTPD__BINDINGS__0__PORT": "0",
    }


@contextlib.contextmanager
def serving(place: Path, environ: dict[str, str]) -> Iterator[list[str]]:
    """The server; the value is what it printed until it listened."""
    process = fork_server.Forked(
        ["serve", "-c", str(place)], env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    told: list[str] = []
    try:
        for line in process.stdout:
            told.append(line)
            if "SSH on port" in line:
                break
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
        guard.cancel()
    assert process.returncode == 0, told


def command(environ: dict[str, str], *words: str, stdin: str = "") -> str:
    done = fork_server.run([*words], env=environ, input=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_alone_start_a_gateway_on_a_bucket(
    environ: dict[str, str], seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    text = GUIDE.read_text()
    guide = set(re.findall(r"(\w+)=", text[text.index("```sh") :].split("```")[1]))
    assert {"AWS_S3BUCKET", "APP_PORT"} <= guide <= environ.keys()
    bucket, port = environ["AWS_S3BUCKET"], int(environ["APP_PORT"])
    old = "ebs/ftpd/tester/from the gateway.csv"
    seaweedfs_server.admin.put_object(Bucket=bucket, Key=old, Body=b"old")
    with serving(tmp_path, environ) as told:
        notes = "".join(told)
        assert f"AWS_S3BUCKET: homes of new accounts are s3://{bucket}/ebs/ftpd/NAME" in notes
        assert "CLAMD_STATUS: uploads are scanned, and accepted where that cannot be done" in notes
        assert "MYSQL_HOST, APP_SYSTEM_PASSWORD: users are not read from there" in notes
        assert "MEMCACHE" not in notes
        assert "never shown" not in notes
        assert SECRET not in notes
        flags = ("-c", str(tmp_path), "-g", "/:*", "--password-stdin")
        command(environ, "user", "add", "tester", *flags, stdin=PASSWORD)
        with contextlib.closing(paramiko.Transport(("127.0.0.1", port))) as transport:
            transport.connect(username="tester", password=PASSWORD)
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            assert client.listdir() == ["from the gateway.csv"]
            with client.open("new.csv", "w") as file:
                file.write("new")
        stored = seaweedfs_server.admin.get_object(Bucket=bucket, Key="ebs/ftpd/tester/new.csv")
        assert stored["Body"].read() == b"new"
        account = json.loads(command(environ, "user", "show", "tester", "-c", str(tmp_path), "--json"))
        assert account["filesystem"]["s3config"]["key_prefix"] == "ebs/ftpd/tester/"
        assert "access_secret" not in account["filesystem"]["s3config"]
    shown = json.loads(command(environ, "config", "show", "-c", str(tmp_path), "--changed", "--json"))
    origins = {row["key"]: (row["value"], row["origin"]) for row in shown}
    assert origins["storage.homes.bucket"] == (bucket, "environment (Openbridge): AWS_S3BUCKET")
    assert origins["sftpd.bindings[0].port"] == (port, "environment (Openbridge): APP_PORT")


def test_they_are_weaker_than_ours_and_than_a_file(tmp_path: Path) -> None:
    given = {"AWS_S3BUCKET": "theirs", "APP_PORT": "2222", "MOUNT_POINT": "/mnt"}
    loaded = load(tmp_path, "tidegate", {**given, "TIDEGATE_SFTPD__BINDINGS__0__PORT": "2200"})
    assert loaded.settings.sftpd.bindings[0].port == 2200
    assert loaded.settings.storage.homes.bucket == "theirs"
    assert load(tmp_path, "tidegate", {"APP_PORT": "2222"}).settings.sftpd.bindings[0].port != 2222
    (tmp_path / "tidegate.json").write_text("{}")
    loaded = load(tmp_path, "tidegate", given)
    assert loaded.settings.storage.homes.bucket == ""
    assert loaded.settings.sftpd.bindings[0].port != 2222


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("APP_PORT", "ssh", "APP_PORT: expected a port from 1 to 65535, got 'ssh'"),
        ("APP_PORT", "65536", "APP_PORT: expected a port from 1 to 65535, got '65536'"),
        ("MOUNT_POINT", "mnt", "MOUNT_POINT: expected an absolute path, got 'mnt'"),
        ("AWS_ACCESS_KEY_ID", "AKIA", "AWS_SECRET_ACCESS_KEY: is missing: it goes together with"),
        ("CLAMD_STATUS", "on", "CLAMD_HOST: is missing: CLAMD_STATUS switches the virus scan on"),
        ("AWS_S3BUCKET", "a/b", "AWS_S3BUCKET: expected the name of a bucket"),
    ],
)
def test_mistakes_name_the_variable(tmp_path: Path, name: str, value: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "tidegate", {"AWS_S3BUCKET": "b", name: value})
    assert what in str(caught.value)


@pytest.mark.parametrize("host", ["clamd", "10.0.0.7:3311", "[::1]:3310", "/run/clamav/clamd.ctl"])
def test_they_switch_the_virus_scan_on(tmp_path: Path, host: str) -> None:
    given = {"AWS_S3BUCKET": "b", "CLAMD_HOST": host}
    for off in ("", "off", "0"):
        assert (
            load(tmp_path, "tidegate", {**given, "CLAMD_STATUS": off}).settings.inspection.clamd.address == ""
        )
    loaded = load(tmp_path, "tidegate", {**given, "CLAMD_STATUS": "on"})
    clamd = loaded.settings.inspection.clamd
    assert (clamd.address, clamd.when_down, clamd.when_unreadable) == (host, "allow", "allow")
    ours = {"TIDEGATE_INSPECTION__CLAMD__WHEN_DOWN": "refuse"}
    loaded = load(tmp_path, "tidegate", {**given, "CLAMD_STATUS": "on", **ours})
    assert loaded.settings.inspection.clamd.when_down == "refuse"
    tables = {"MYSQL_HOST": "db", "APP_SYSTEM_USER": "u", "CLAMD_HOST": host, "CLAMD_STATUS": "on"}
    assert load(tmp_path, "tidegate", tables).settings.inspection.clamd.address == host
    alone = {"CLAMD_HOST": host, "CLAMD_STATUS": "on"}
    assert load(tmp_path, "tidegate", alone).settings.inspection.clamd.address == ""


@pytest.mark.parametrize("host", ["tcp://clamd", "clamd:0", "clamd:65536", "a b", "run/clamd", "::1"])
def test_an_address_of_clamd_that_is_none_is_named(tmp_path: Path, host: str) -> None:
    given = {"AWS_S3BUCKET": "b", "CLAMD_STATUS": "on", "CLAMD_HOST": host}
    with pytest.raises(ConfigError, match=r"CLAMD_HOST: expected host, host:port, .* got '"):
        load(tmp_path, "tidegate", given)
