# SPDX-License-Identifier: Apache-2.0
"""Guides as programs: the commands of a page in order, and what it says that they print.

Comments of a page direct the harness; readers do not see them. Each stands before a block of code:

* ``<!-- guide: not run: REASON -->``: the block cannot be run here.
* ``<!-- guide: file NAME -->``: the block is the content of a file in the current directory.
* ``<!-- guide: before`` and lines of shell, then ``-->``: run first. ``$GUIDE_DATA`` is ``tests/data``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(
    r"<!-- guide: (?P<word>not run|file|before):?\s*(?P<rest>.*?)\s*-->"
    r"|^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
PROMPT = re.compile(r"^[$#] ")


@dataclass
class Step:
    """One command, what the page says that it prints, and what is typed at its ``sftp>`` prompt."""

    command: str
    expected: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)


@dataclass
class Guide:
    """A page.

    Attributes:
        steps: commands, and files (name and content) that stand between them.
        left_out: reasons of the blocks that are not run.
    """

    steps: list[Step | tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_guide(page: Path) -> Guide:
    """A page as a program."""
    guide = Guide()
    name = reason = ""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        match match["word"]:
            case "not run":
                reason = match["rest"]
                assert reason, f"{page}: a block is left out without a reason"
            case "file":
                name = match["rest"]
            case "before":
                for line in match["rest"].splitlines():
                    if line.startswith("sftp> "):
                        assert isinstance(guide.steps[-1], Step)
                        guide.steps[-1].typed.append(line.removeprefix("sftp> "))
                    else:
                        guide.steps.append(Step(line))
            case _:
                if reason:
                    guide.left_out.append(reason)
                elif name:
                    guide.steps.append((name, match["text"]))
                elif match["language"] == "console":
                    guide.steps += steps(match["text"])
                name = reason = ""
    return guide


def steps(block: str) -> Iterator[Step]:
    """The commands of a console block."""
    step: Step | None = None
    for line in block.replace("\\\n", " ").splitlines():
        if PROMPT.match(line):
            if step is not None:
                yield step
            step = Step(line[2:].partition("    # ")[0].rstrip())
        elif step is not None:
            step.expected.append(line)
            if line.startswith("sftp> "):
                step.typed.append(line.removeprefix("sftp> "))
    if step is not None:
        yield step


# -- comparing ---------------------------------------------------------------------------------------------

HOLES = {
    "key": (r"SHA256:[A-Za-z0-9+/]{43}", True),
    "password": (r"\b[a-z0-9]{5}(?:-[a-z0-9]{5}){3}\b", True),
    "seed": (r"\b[A-Z2-7]{32}\b", True),
    "recovery_code": (r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b", True),
    "token": (r"eyJ[\w-]+(?:\.{3}|\.[\w.-]+)", True),
    "api_key": (r"\b[0-9a-f]{22}\.[\w-]{43}", True),
    "connection": (r"\b[0-9a-f]{16}_\d+", True),
    "moment": (r"\b20\d\d-\d\d-\d\d[T ][\d:.]+(?:Z| UTC)", False),
    "date": (r"\b[A-Z][a-z]{2} +\d+ +\d\d:\d\d\b", False),
    "id": (r'"id":\d+', False),
    "muted": (r'"muted":\d+', False),
    "version": (r'"version":"[\w.]+"', False),
    "address": (r"\b192\.0\.2\.2\b", False),
    "gap": (r"\.{3}|…", False),
}
"""The parts that differ from run to run: their form, and if the page's own value stands for the real one."""

_ACTUAL = {"token": r"eyJ[\w.-]+", "address": r"[\w.:-]+", "gap": r".*"}
_HOLE = re.compile("|".join(f"(?P<{name}>{look})" for name, (look, _) in HOLES.items()))

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>])")
BLANK = re.compile(r"^\W*$")
"""Blank lines and rules of tables, which are not compared."""
BESIDE = re.compile(
    r" \d+% |[Pp]assword.*: *$|^Warning: Permanently added|^The authenticity of|key fingerprint is|^This key is not"
    r"|^Are you sure you want|^sftp> bye$|^bye$"
)
"""Lines that a page may leave out: progress, and the talk before a client is connected."""
ONCE = re.compile(r"^Installing ")
"""Lines that come only where nothing is installed yet."""


def plain(line: str) -> str:
    """A line without what depends on the width of the terminal."""
    return " ".join(re.sub(r"[─━│]+", " ", line).split())


def pattern(line: str) -> tuple[re.Pattern[str], list[str]]:
    """A pattern of the real line for an expected one, and each group's own value in the page."""
    parts: list[str] = []
    own: list[str] = []
    at = 0
    for match in _HOLE.finditer(line):
        kind = str(match.lastgroup)
        look, kept = HOLES[kind]
        parts += [re.escape(line[at : match.start()]), f"({_ACTUAL.get(kind, look)})"]
        own.append(match[0] if kept else "")
        at = match.end()
    return re.compile("".join([*parts, re.escape(line[at:])]), re.DOTALL), own


def differences(expected: list[str], output: str, learned: dict[str, str]) -> str:
    """The difference between an output and the page; empty if there is none. Values of this run go into `learned`."""
    lines = [plain(line) for line in re.split(r"[\r\n]+", ESCAPES.sub("", output))]
    lines = [line for line in lines if not BLANK.match(line)]
    at = 0
    gap = False
    for raw in expected:
        line = plain(raw)
        if line == "...":
            gap = True
            continue
        if BLANK.match(line) or ONCE.match(line):
            continue
        wanted, own = pattern(line)
        while at < len(lines):
            found = wanted.fullmatch(lines[at])
            at += 1
            if found:
                for doc, real in zip(own, found.groups(), strict=True):
                    if doc and learned.setdefault(doc, real) != real:
                        return f"{doc} of the page was {learned[doc]} before, and is {real} here"
                break
            if not gap and not BESIDE.search(lines[at - 1]):
                return f"the page says\n  {line}\nand this came\n  {lines[at - 1]}"
        else:
            return f"the page says\n  {line}\nand nothing more came"
        gap = False
    rest = [line for line in lines[at:] if not BESIDE.search(line)]
    return f"the page does not show\n  {rest[0]}" if expected and not gap and rest else ""
