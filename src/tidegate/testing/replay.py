# SPDX-License-Identifier: Apache-2.0
"""Recordings of another server as test cases: what was done at which door, and what came of it.

A recording is a file of JSON lines, one step in each. Four shapes are known: a command over SSH (``command``,
``exit_status``), a request over HTTP (``request``, ``status``), a step with the calls that a hook received
(``hook_calls``), a line of the log (``line``). `cases` reads all of them; `differences` compares answers,
`line_differences` lines of a log; `replaced` puts the paths of the day into what was recorded elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ANY: Final = object()
"""Equal to whatever there is."""

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Longest step of a recording."""

_REPLACED: Final = re.compile(r"<[^<>]{1,80}>|\d{4}-\d\d-\d\dT[\d:.]+Z?|\b1[67]\d{8}(?:\d{3}|\d{9})?\b")
"""Stands for something that differs each time: ``<JWT>``, times."""


@dataclass(frozen=True, slots=True)
class Case:
    """One step of a recording.

    Attributes:
        place: ``FILE:LINE``, for names of tests and messages.
        kind: ``command``, ``request``, ``hook`` or ``log``.
        door: SSH, HTTP, or what the recording says.
        step: what was done: a command line, ``METHOD PATH``, or the recording's own words.
        given: what else the step was done with (configuration, account, body, standard input).
        expected: what came of it: ``exit_status``, ``stdout``, ``stderr``; ``status``, ``answer``;
            ``client``, ``hook_calls``; or the fields of the line.
    """

    place: str
    kind: str
    door: str
    step: str
    given: Mapping[str, Any]
    expected: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.place} {self.step}"


_SHAPES: Final[tuple[tuple[str, str, frozenset[str]], ...]] = (
    ("hook_calls", "hook", frozenset({"client", "hook_calls", "client_seconds", "files", "log_lines"})),
    ("command", "command", frozenset({"exit_status", "stdout", "stderr"})),
    ("request", "request", frozenset({"status", "answer", "headers", "content_type"})),
    ("line", "log", frozenset({"line"})),
)
"""The key that tells the kind, and the keys of the record that are outcomes; all else was given."""

_DOORS: Final = {"command": "SSH", "request": "HTTP", "log": ""}


def cases(file: Path) -> Iterator[Case]:
    """The steps of a recording in order; steps of other shapes are left out.

    Raises:
        ValueError: a line is no JSON object.
        OSError: the file cannot be read.
    """
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            place = f"{file.name}:{number}"
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            if not isinstance(record, dict):
                raise ValueError(f"{place}: no JSON object")
            made = _case(place, record)
            if made is not None:
                yield made


def _case(place: str, record: dict[str, Any]) -> Case | None:
    for key, kind, outcome in _SHAPES:
        if key not in record:
            continue
        expected = {name: value for name, value in record.items() if name in outcome}
        given = {name: value for name, value in record.items() if name not in outcome}
        if kind == "log":
            line = record["line"]
            expected = line if isinstance(line, dict) else {"message": line}
            step = str(expected.get("sender", ""))
        elif kind == "hook":
            step = str(record.get("step", record.get("case", "")))
        else:
            step = str(record[key])
        return Case(place, kind, str(record.get("door", _DOORS.get(kind, ""))), step, given, expected)
    return None


def differences(expected: Any, got: Any, *, place: str = "") -> list[str]:
    """The differences between a value and a recorded one, each with its place; empty if there are none.

    A text or number that the recording replaced (a token, a time) fits any of its kind. Keys that the
    recording does not have may be there: documents grow.
    """
    if expected is ANY:
        return []
    if isinstance(expected, dict) and isinstance(got, dict):
        found: list[str] = []
        for key, value in expected.items():
            inner = f"{place}.{key}" if place else key
            found += differences(value, got[key], place=inner) if key in got else [f"{inner}: missing"]
        return found
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return [f"{place}: {len(got)} items, not {len(expected)}"]
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, place=f"{place}[{index}]")]
    if expected == got and type(expected) is type(got):
        return []
    if type(expected) is type(got) and isinstance(expected, (str, int)) and not isinstance(expected, bool):
        parts = _REPLACED.split(str(expected))
        if len(parts) > 1 and re.fullmatch(".+?".join(map(re.escape, parts)), str(got), re.DOTALL):
            return []
    return [f"{place or 'value'}: {got!r}, not {expected!r}"]


def line_differences(
    recorded: Mapping[str, Any], got: Mapping[str, Any], *, own: Container[str]
) -> list[str]:
    """The fields of a recorded log line that another log has not, or has otherwise; empty if there are none.

    Args:
        recorded: the line of the recording.
        got: the line about the same act; may have more fields.
        own: fields whose values belong to each run (times, ports, ids); only their kind is compared: text,
            number, truth value.
    """
    found: list[str] = []
    for name, value in recorded.items():
        if name not in got:
            found.append(f"{name}: missing")
        elif name in own:
            if type(value) is not type(got[name]):
                found.append(f"{name}: {type(got[name]).__name__}, not {type(value).__name__}")
        else:
            found += differences(value, got[name], place=name)
    return found


def replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A recorded value with texts of its own place, such as paths, replaced by those of another."""
    if isinstance(value, dict):
        return {key: replaced(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, texts) for inner in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value
