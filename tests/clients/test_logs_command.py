# SPDX-License-Identifier: Apache-2.0
"""``tidegate logs``: the log of a real server, from its file and over REST, searched and followed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from tests.support.command_line import TIDEGATE, Result, clean_environment, process, tidegate
from tests.support.log_world import WrittenLog
from tests.support.ports import free_port
from tests.support.programs import sftp
from tests.support.running import Running, wait_for

PASSWORD = "a long and boring administrator password"
EVIL = "a\x1b[31m\nforged"


@dataclass
class Served:
    """A server with the REST API, and an administrator's API key in a file."""

    server: Running
    remote: list[str]

    @property
    def here(self) -> list[str]:
        return ["-c", str(self.server.directory), "-l", str(self.server.log_file)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import httpx2

    home, port = tmp_path_factory.mktemp("server") / "srv", free_port()
    server = Running(home, settings={"httpd": {"bindings": [{"address": "127.0.0.1", "port": port}]}})
    assert (
        process("admin", "add", "boss", "--password-stdin", "--create", "-c", home, stdin=PASSWORD).code == 0
    )
    try:
        server.start()
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, trust_env=False) as client:
            answer = client.get("/api/v2/token", auth=("boss", PASSWORD))
            (home / "token").write_text(answer.json()["access_token"])
        yield Served(server, ["--url", url, "--token-file", str(home / "token")])
        server.stop()
    finally:
        server.kill()


@pytest.fixture(params=["file", "rest"])
def place(request: pytest.FixtureRequest, served: Served) -> list[str]:
    return served.here if request.param == "file" else served.remote


@pytest.mark.needs("sftp")
def test_lines_are_found_by_the_filters_of_the_page(served: Served, place: list[str], tmp_path: Path) -> None:
    person = served.server.account(permissions={"/": ("*",), "/out": ("list",)})
    (person.home / "out").mkdir()
    (tmp_path / "x.csv").write_text("abc")
    sftp(person, "put x.csv in.csv", "-put x.csv out/x.csv", cwd=tmp_path)
    wait_for(lambda: bool(served.server.lines("disconnected", username=person.name)), "no line")

    def ask(*args: str) -> Result:
        result = tidegate("logs", *args, "--user", person.name, *place)
        assert result.code == 0, result
        return result

    whole = [line for line in ask().out.splitlines() if "Stat failed" not in line]  # sftp looks first
    told = [line.partition(f"{person.name} from 127.0.0.1: ")[2] for line in whole]
    told = [text.split(",")[0].split(" [")[0] for text in told]
    assert told == ["Logged in", "Upload /in.csv", "Upload refused /out/x.csv", "Left"]
    assert "permissions[/out]" in whole[2]
    assert all(line[:4].isdigit() and "Z" not in line[:24] for line in whole)
    (refused,) = [
        json.loads(line)
        for line in ask("--json", "--kind", "refusals", "--sender", "refused").out.splitlines()
    ]
    assert (refused["sender"], refused["virtual_path"]) == ("refused", "/out/x.csv")
    assert refused in served.server.lines("refused", username=person.name)
    connection = refused["connection_id"]
    (one,) = ask(
        "-n", "1", "--connection", connection, "--sender", "Upload", "--path", "IN.CSV"
    ).out.splitlines()
    assert "Upload /in.csv" in one
    assert ask("IN.csv", "--since", "1h", "--level", "info", "--protocol", "sftp", "--ip", "127.0.0.0/8").out
    assert ask("no line has that").out == ""
    assert ask("--until", "1h").out == ""
    newest = ask("-n", "1").out.splitlines()
    assert newest == whole[-1:]


def test_wrong_filters_are_named(place: list[str]) -> None:
    for flag, value, words in (
        ("--level", "loud", "level: one of debug, info, warn, error"),
        ("--kind", "all", "kind: one of transfers"),
        ("--ip", "1.2.3", "ip: neither an address nor a network"),
        ("--since", "soon", "since: a time such as"),
    ):
        result = tidegate("logs", flag, value, *place)
        assert (result.code, words in result.err) == (1, True), result
    assert "has no end" in tidegate("logs", "-f", "--until", "1h", *place).err


@pytest.mark.needs("sftp")
def test_what_comes_is_shown_once_and_in_order(served: Served, place: list[str], tmp_path: Path) -> None:
    person = served.server.account()
    (tmp_path / "f").write_text("x")
    sftp(person, "put f before", cwd=tmp_path)
    wait_for(lambda: bool(served.server.lines("disconnected", username=person.name)), "no line")
    command = [
        *TIDEGATE,
        "logs",
        "-f",
        "-n",
        "1",
        "--user",
        person.name,
        "--sender",
        "Upload",
        "--json",
        *place,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as following:
        try:
            assert following.stdout is not None
            assert read_path(following.stdout) == "/before"
            sftp(person, *(f"put f {number:02}" for number in range(20)), cwd=tmp_path)
            assert [read_path(following.stdout) for _ in range(20)] == [f"/{n:02}" for n in range(20)]
            served.server.send(signal.SIGUSR1)
            sftp(person, "put f after", cwd=tmp_path)
            assert read_path(following.stdout) == "/after"
        finally:
            following.kill()


def read_path(stream: IO[bytes]) -> str:
    return str(json.loads(stream.readline())["virtual_path"])


def test_names_of_others_forge_no_line(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "tidegate.log")
    log.write("Upload", username="u", virtual_path=f"/{EVIL}", size_bytes=1, status="ok", elapsed_ms=1)
    log.raw(b"not JSON \x1b]0;title\x07 \xff\n")
    for more in ((), ("--json",)):
        result = tidegate("logs", "-c", tmp_path, *more)
        assert result.code == 0, result
        assert len(result.out.splitlines()) == 2
        assert "\x1b" not in result.out


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "there is no log" in tidegate("logs", "-c", tmp_path).err
    assert "standard error" in tidegate("logs", "-c", tmp_path, "-l", "-").err
    assert "--token-file: needs --url" in tidegate("logs", "-c", tmp_path, "--token-file", "x").err


def test_more_lines_than_one_search_finds(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "tidegate.log")
    for number in range(1_234):
        log.write("tidegate", message=f"number {number}")
    lines = tidegate("logs", "-c", tmp_path, "-n", "1200").out.splitlines()
    assert len(lines) == 1_200
    assert lines[0].endswith("number 34") and lines[-1].endswith("number 1233")
    assert len(io.StringIO(tidegate("logs", "-c", tmp_path).out).readlines()) == 50
