# SPDX-License-Identifier: Apache-2.0
"""The file of examples/launchd: a property list whose command line is one of ours."""

from __future__ import annotations

import plistlib
import subprocess
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from tidegate.cli.main import app

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "launchd" / "org.tidegate.server.plist"


def test_the_property_list_starts_a_server() -> None:
    document = plistlib.loads(EXAMPLE.read_bytes(), fmt=plistlib.FMT_XML)

    assert document["Label"] == EXAMPLE.stem
    program, command, *words = document["ProgramArguments"]
    assert (Path(program).name, command) == ("tidegate", "serve")
    root = get_command(app)
    context = typer.Context(root)
    served = root.get_command(context, command)  # type: ignore[attr-defined]
    options = {name for parameter in served.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
    assert document["ExitTimeOut"] > int(words[words.index("--grace-time") + 1])
    assert document["Umask"] == 0o077
    assert document["KeepAlive"] == {"SuccessfulExit": False}


@pytest.mark.needs("plistutil")
def test_another_reader_has_the_same_of_it(tmp_path: Path) -> None:
    """libplist's, as `plutil -convert` does on a Mac: into the binary form."""
    binary = tmp_path / "binary"
    words = ["plistutil", "-i", str(EXAMPLE), "-f", "bin", "-o", str(binary)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    assert binary.read_bytes().startswith(b"bplist00")
    assert plistlib.loads(binary.read_bytes(), fmt=plistlib.FMT_BINARY) == plistlib.loads(
        EXAMPLE.read_bytes()
    )


def test_a_broken_list_would_be_seen() -> None:
    with pytest.raises(Exception, match="tag"):
        plistlib.loads(EXAMPLE.read_bytes().replace(b"</dict>", b"", 1), fmt=plistlib.FMT_XML)
