# SPDX-License-Identifier: Apache-2.0
"""The one file: copied anywhere, it runs with each Python that it is for, and shares a directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, Release, run, without_network

from tidegate import __version__

sys.path.insert(0, str(ROOT / "tools"))
from one_file import interpreters
from tests.support.ports import free_port

START_SECONDS = 120


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pex")


@pytest.fixture
def file(release: Release, tmp_path: Path) -> Path:
    place = tmp_path / "somewhere" / "tidegate"
    place.parent.mkdir()
    shutil.copy(release.place / "tidegate", place)
    return place


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("python", interpreters())
def test_it_shares_a_directory_with_each_python(file: Path, cache: Path, tmp_path: Path, python: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "there").write_text("from the server")
    environment = without_network(PEX_ROOT=str(cache))
    assert run(python, file, "version", env=environment).startswith(f"Tidegate {__version__}, commit ")
    words = ["portable", "-d", str(shared), "-s", str(free_port()), "-u", "u", "-p", "secret", "-g", "*"]
    with subprocess.Popen(
        [python, str(file), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        guard = threading.Timer(START_SECONDS, server.kill)
        guard.start()
        try:
            assert server.stdout is not None
            lines: list[str] = []
            while not (lines and "sftp -P" in lines[-1]):
                lines.append(server.stdout.readline())
                assert lines[-1], lines
            port = re.findall(r"sftp -P (\d+)", lines[-1])[0]
            (tmp_path / "up").write_bytes(os.urandom(100_000))
            (tmp_path / "batch").write_text(f"put {tmp_path}/up up\nget there {tmp_path}/got\n")
            ask = tmp_path / "ask"
            ask.write_text("#!/bin/sh\necho secret\n")
            ask.chmod(0o700)
            run(
                *("sftp", "-P", port, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=no"),
                *("-o", f"UserKnownHostsFile={tmp_path}/hosts", "-b", tmp_path / "batch", "u@127.0.0.1"),
                env=without_network(SSH_ASKPASS=str(ask), SSH_ASKPASS_REQUIRE="force", DISPLAY=":0"),
            )
        finally:
            guard.cancel()
            server.terminate()
            server.communicate()  # it says something at its end
    assert (shared / "up").read_bytes() == (tmp_path / "up").read_bytes()
    assert (tmp_path / "got").read_text() == "from the server"
    assert server.returncode == 0


def test_hints_name_the_file_as_it_was_called(file: Path, cache: Path) -> None:
    done = subprocess.run(
        ["./tidegate", "user", "list"], cwd=file.parent, env=without_network(PEX_ROOT=str(cache)),
        capture_output=True, text=True, timeout=START_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert "./tidegate initprovider" in done.stderr


def test_without_a_python_that_it_is_for_it_says_so(file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", str(file), "version"], env=without_network(PEX_ROOT=str(tmp_path / "pex"), PATH=str(tmp_path)),
        capture_output=True, text=True, timeout=START_SECONDS,
    )  # fmt: skip
    assert done.returncode != 0
    assert "python" in done.stderr.lower()
