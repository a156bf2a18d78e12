# SPDX-License-Identifier: Apache-2.0
"""The documentation holds: links lead somewhere, commands parse, examples of configuration load."""

import functools
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hcl2
import javaproperties
import pytest
import typer
import yaml

from tidegate.abc import Capability
from tidegate.backends.memory import MemoryBackend
from tidegate.cli.completion import SCRIPTS
from tidegate.cli.main import app
from tidegate.config.load import load
from tidegate.config.schema import Settings

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"(?<!`)`(tidegate [^`\n]+)`")
LOADERS = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "hcl": hcl2.loads,
    "properties": lambda text: javaproperties.load(io.StringIO(text)),
}


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each block of code."""
    for match in FENCE.finditer(text):
        indent = len(match[1])
        yield match[2], "".join(line[indent:] for line in match[3].splitlines(keepends=True))


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Ids of headings as web pages make them."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if (
            not target.exists()
            or not target.is_relative_to(ROOT)
            or (anchor and anchor not in anchors(target.read_text(encoding="utf-8")))
        ):
            found.append(link)
    return found


def commands(block: str) -> Iterator[list[str]]:
    """The words after `tidegate` of each call in a block of shell lines."""
    for line in block.replace("\\\n", " ").splitlines():
        if not line.startswith(("$ ", "# ", "ExecStart=", "ExecStartPre=")):
            continue
        typed = re.sub(r"^([$#] |\w+=)", "", line)
        lexer = shlex.shlex(typed, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        part: list[str] = []
        for token in [*lexer, ";"]:
            if token and set(token) <= set("|&;<>()"):
                yield from called(part)
                part = []
            else:
                part.append(token)


def called(words: list[str]) -> Iterator[list[str]]:
    """The words after the program in one call, if the program is `tidegate`."""
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_0-9]+=.*", words[0])):
        words = words[3:] if words[:2] == ["sudo", "-u"] else words[1:]
    if words and words[0].rpartition("/")[2] == "tidegate":
        yield words[1:]


@functools.cache
def program() -> Any:
    return typer.main.get_command(app)


def refuse(words: list[str], *, whole: bool) -> str | None:
    """The reason why the command line does not parse, None if it does.

    Args:
        words: what follows `tidegate`.
        whole: everything must be there; otherwise only what is there must be right.
    """
    command, rest = program(), list(words)
    while rest and hasattr(command, "get_command"):
        if rest[0].startswith("-"):
            break
        name, command = rest[0], command.get_command(None, rest.pop(0))
        if command is None:
            return f"no command {name}"
    if rest == ["--help"]:
        return None
    if rest and rest[0] in ("--show-completion", "--install-completion"):
        # They act while the line is read, for the shell that started the test or in somebody's home.
        return None if not whole or (len(rest) == 2 and rest[1] in SCRIPTS) else "no shell with a completion"
    if whole:
        try:
            command.make_context("tidegate", rest)
        except Exception as error:
            return str(getattr(error, "message", "")) or type(error).__name__
        return None
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return next((f"no option {word}" for word in rest if word.startswith("-") and word not in known), None)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [
        (" ".join(words), why)
        for language, block in fences(text)
        if language in ("console", "ini")
        for words in commands(block)
        if (why := refuse(words, whole=True))
    ]
    wrong += [
        (inline, why)
        for inline in INLINE.findall(prose(text))
        if (why := refuse(shlex.split(inline)[1:], whole=False))
    ]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_examples_load(page: Path) -> None:
    for language, block in fences(page.read_text(encoding="utf-8")):
        if language in LOADERS:
            assert LOADERS[language](block) is not None
        assert language, f"a block of code says no language: {block[:60]}"


def configurations(text: str) -> Iterator[tuple[str, str]]:
    """Format and content of the examples that are a configuration: their top keys are sections."""
    for language, block in fences(text):
        if language in LOADERS:
            found = LOADERS[language](block)
            if isinstance(found, dict) and found and found.keys() <= Settings.model_fields.keys():
                yield language, block


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_configurations_are_valid(page: Path, tmp_path: Path) -> None:
    for language, block in configurations(page.read_text(encoding="utf-8")):
        (tmp_path / f"tidegate.{language}").write_text(block)
        (tmp_path / f"tidegate.{language}").chmod(0o600)  # examples may hold secrets
        assert load(tmp_path, "tidegate", {}).notes == (), "an example must not use what is not there"
        (tmp_path / f"tidegate.{language}").unlink()


def test_the_backend_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example, with the backend that the guide recommends to read."""
    text = (ROOT / "docs" / "how_to" / "write-a-backend.md").read_text(encoding="utf-8")
    examples = [block for language, block in fences(text) if language == "python"]
    mystore = ModuleType("mystore")
    mystore.MyBackend = MemoryBackend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mystore", mystore)

    for example in examples[:2]:
        names: dict[str, Any] = {}
        exec(example, names)
        assert inspect.iscoroutinefunction(names["test_contract"])
    for capability in Capability:
        assert capability is Capability.NONE or f"`{capability.name}`" in text


@pytest.mark.needs("systemd-analyze")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how_to" / "run-under-systemd.md").read_text(encoding="utf-8")
    (unit,) = [block for language, block in fences(text) if language == "ini"]
    there = unit.replace("/opt/tidegate/bin/tidegate", sys.executable)
    (tmp_path / "tidegate.service").write_text(there)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "tidegate.service")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert there != unit
    assert done.returncode == 0, done.stderr
    assert "tidegate.service" not in done.stderr


def test_every_page_can_be_found() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(index)}

    assert [
        name for page, name in zip(PAGES, NAMES, strict=True) if "docs/" in name and page not in linked
    ] == ["docs/index.md"]


def test_the_checks_see_mistakes() -> None:
    page = ROOT / "docs" / "index.md"
    assert broken_links(page, "[a](nowhere.md) [b](../README.md) [c](../README.md#nowhere)") == [
        "nowhere.md",
        "../README.md#nowhere",
    ]
    assert list(commands("$ echo x | A=1 .venv/bin/tidegate user add x --password-stdin > f\n")) == [
        ["user", "add", "x", "--password-stdin"]
    ]
    assert list(commands("$ cd tidegate && sudo -u t tidegate \\\n  check\noutput tidegate x\n")) == [
        ["check"]
    ]
    assert refuse(["user", "ad"], whole=True) == "no command ad"
    assert refuse(["check", "--nothing"], whole=True)
    assert refuse(["user", "show"], whole=True)
    assert refuse(["user", "show"], whole=False) is None
    assert refuse(["user", "add", "--password"], whole=False) == "no option --password"
    with pytest.raises(json.JSONDecodeError):
        LOADERS["json"]("{")
