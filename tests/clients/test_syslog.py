# SPDX-License-Identifier: Apache-2.0
"""The log of a running server in a real rsyslog (UDP, TCP, TLS, a socket of this machine) and in a real journald."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import certificate
from tests.support.command_line import tidegate
from tests.support.ports import free_port
from tests.support.running import Running, running, wait_for

CONFIGURATION = """\
global(workDirectory="{here}" DefaultNetstreamDriverCAFile="{here}/cert.pem"
       DefaultNetstreamDriverCertFile="{here}/cert.pem" DefaultNetstreamDriverKeyFile="{here}/key.pem")
module(load="imudp")
module(load="imtcp")
module(load="imuxsock" SysSock.Use="off")
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="r")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="r")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="r"
      StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imuxsock" Socket="{here}/log" ruleset="r")
template(name="t" type="string"
         string="%inputname% %pri% %app-name% %procid% %msgid% %timereported:::date-rfc3339% %msg%\\n")
ruleset(name="r") {{ action(type="omfile" file="{here}/received" template="t") }}
"""
LINE = re.compile(
    r"(?P<by>\S+) (?P<pri>\d+) (?P<app>\S+) (?P<pid>\d+) (?P<kind>\S+) (?P<time>\S+) +(?P<text>\{.*\})"
)


class Rsyslog:
    """A running rsyslog that writes what it gets into a file."""

    def __init__(self, here: Path) -> None:
        here.mkdir()
        self.here = here
        certificate(here, "rsyslog")
        self.ports = {name: free_port() for name in ("udp", "tcp", "tls")}
        (here / "rsyslog.conf").write_text(CONFIGURATION.format(here=here, **self.ports))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.here / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                ["rsyslogd", "-n", "-iNONE", "-f", str(self.here / "rsyslog.conf")],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        wait_for(self._listens, f"rsyslogd: {(self.here / 'errors').read_text()}")

    def _listens(self) -> bool:
        for name in ("tcp", "tls"):
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), timeout=5).close()
            except OSError:
                return False
        return (self.here / "log").exists()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
            self.process = None

    def received(self) -> list[dict[str, Any]]:
        file = self.here / "received"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        found = [LINE.fullmatch(line) for line in lines]
        return [{**one.groupdict(), "line": json.loads(one["text"])} for one in found if one]

    def find(self, **fields: object) -> list[dict[str, Any]]:
        return [one for one in self.received() if fields.items() <= one["line"].items()]


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    made = Rsyslog(tmp_path / "rsyslog")
    made.start()
    yield made
    made.stop()


@pytest.mark.needs("rsyslogd")
async def test_a_login_is_in_rsyslog_by_tls_also_after_it_was_away(rsyslog: Rsyslog, tmp_path: Path) -> None:
    address = f"tls://127.0.0.1:{rsyslog.ports['tls']}"
    section = {"address": address, "ca_file": str(rsyslog.here / "cert.pem"), "app_name": "gateway"}
    with running(tmp_path / "config", settings={"syslog": section}) as server:
        person = server.account()
        async with person.connect():
            pass
        wait_for(lambda: rsyslog.find(sender="login", username=person.name), "no line of the login")
        (line,) = rsyslog.find(sender="login", username=person.name)
        assert line["app"] == "gateway"
        assert line["kind"] == "login"
        assert line["by"] == "imtcp"
        assert int(line["pri"]) >> 3 == 16, "local0"
        assert line["line"] == server.lines("login", username=person.name)[0]

        rsyslog.stop()
        later = server.account()
        async with later.connect():
            pass
        wait_for(lambda: "lines wait" in server.tail(), "nobody was told")
        rsyslog.start()
        wait_for(lambda: rsyslog.find(sender="login", username=later.name), "what waited did not come")
        wait_for(lambda: "lines go out again" in server.tail(), "nobody was told that it is back")
        checked = await asyncio.to_thread(tidegate, "check", "-c", server.directory)
        assert f"syslog: {address}\n" in checked.out


@pytest.mark.needs("rsyslogd")
@pytest.mark.parametrize("way", ["udp", "tcp", "newline", "unix"])
def test_other_ways_to_rsyslog(rsyslog: Rsyslog, way: str) -> None:
    from tidegate.logs.syslog import SyslogOptions, SyslogSender

    if way == "unix":
        options = SyslogOptions(transport="unix", path=str(rsyslog.here / "log"))
    else:
        transport = "udp" if way == "udp" else "tcp"
        options = SyslogOptions(
            transport=transport,  # type: ignore[arg-type]
            host="127.0.0.1",
            port=rsyslog.ports[transport],
            newlines=way == "newline",
        )
    told: list[str] = []
    sender = SyslogSender(options, told.append)
    for number in range(20):
        text = {
            "time": "2026-11-30T08:00:00.000Z",
            "level": "warn",
            "sender": "Upload",
            "number": number,
            "path": "/grüße",
        }
        sender.write(json.dumps(text, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    wait_for(lambda: len(rsyslog.received()) == 20, f"lines are missing: {told}", seconds=30)
    sender.close()
    got = rsyslog.received()
    assert [one["line"]["number"] for one in got] == list(range(20))
    kind = "-" if way == "unix" else "Upload"  # the old form has no such field
    assert {(one["app"], one["kind"], one["pri"], one["line"]["path"]) for one in got} == {
        ("tidegate", kind, "132", "/grüße")
    }
    assert told == []


JOURNAL = """\
import subprocess, sys, time
from pathlib import Path
def run(*words): return subprocess.run(words, check=True, capture_output=True, text=True).stdout
run("mount", "-t", "tmpfs", "tmpfs", "/run")
Path("/run/systemd/journal").mkdir(parents=True); Path("/run/log/journal").mkdir(parents=True)
daemon = subprocess.Popen(["/lib/systemd/systemd-journald"], stderr=subprocess.DEVNULL)
try:
    from tidegate.logs.syslog import SyslogOptions, SyslogSender
    until = time.monotonic() + 20
    while not Path("/run/systemd/journal/socket").exists() and time.monotonic() < until: time.sleep(0.02)
    sender = SyslogSender(SyslogOptions(transport="journald", path="/run/systemd/journal/socket"), print)
    sender.write(b'{"time":"2026-11-30T08:00:00.000Z","level":"error","sender":"login","username":"ann"}\\n')
    text = ""
    while not text and time.monotonic() < until:
        text = run("journalctl", "-D", "/run/log/journal", "-t", "tidegate", "-o", "json", "--no-pager")
    print(text)
finally:
    daemon.terminate(); daemon.wait(20)
"""


@pytest.mark.needs("unshare", "journalctl", "mount")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_line_is_in_the_journal_with_its_priority() -> None:
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", JOURNAL],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["SYSLOG_FACILITY"]) == (
        "3",
        "tidegate",
        "16",
    )
    assert json.loads(entry["MESSAGE"])["username"] == "ann"


def test_a_wrong_address_is_named_before_the_server_starts(tmp_path: Path) -> None:
    Running(tmp_path / "config", settings={"syslog": {"address": "logs.example.com"}})
    checked = tidegate("check", "-c", tmp_path / "config")
    assert checked.code == 1
    assert "syslog.address: 'logs.example.com': not of the form udp://HOST:PORT" in checked.err
