# SPDX-License-Identifier: Apache-2.0
"""Talking with the person or program at the terminal: tables, JSON, passwords, questions."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tidegate.errors import InvalidArgument
from tidegate.nesting import deeper_than

MAX_DEPTH: Final = 64
"""levels of nesting of a JSON document that a command reads; what is valid has half as many"""

TEXT_LIMIT: Final = 16 * 1024 * 1024
"""bytes of a file or of standard input that a command reads"""


def say(text: str) -> None:
    """A line of result."""
    sys.stdout.write(f"{visible(text)}\n")


def note(text: str) -> None:
    """A line beside the result."""
    sys.stderr.write(f"note: {visible(text)}\n")


def visible(text: str) -> str:
    """Text without characters that a terminal would obey; names come from outside."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say_json(value: Any) -> None:
    """A document for machines. ASCII, so that any byte in a name survives any locale."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def say_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; columns are as wide as their texts, and plain when piped."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(visible, row))
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=not sys.stdout.isatty())
    if not sys.stdout.isatty():
        console.width = 10_000
    console.print(table)


TABLE_ROWS: Final = 1_000
"""rows whose widths decide about the columns of a longer table, and most rows held at once"""


async def say_stream(headers: Sequence[str], rows: AsyncIterable[Sequence[str]]) -> None:
    """A table of any length, printed while it comes; its first `TABLE_ROWS` set the widths."""
    first: list[Sequence[str]] = []
    widths: list[int] = []
    async for row in rows:
        if not widths:
            first.append(row)
            if len(first) == TABLE_ROWS:
                say_table(headers, first)
                widths = [
                    max(len(visible(line[i])) for line in (headers, *first)) for i in range(len(headers))
                ]
                first.clear()
            continue
        cells = [visible(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write(f" {'   '.join(cells).rstrip()}\n")
    if not widths:
        say_table(headers, first)


async def say_json_stream(documents: AsyncIterable[Any]) -> None:
    """A JSON list of any length, one document at a time."""
    start = "["
    async for document in documents:
        text = json.dumps(document, indent=2).replace("\n", "\n  ")
        sys.stdout.write(f"{start}\n  {text}")
        start = ","
    sys.stdout.write("[]\n" if start == "[" else "\n]\n")


def read_text(path: Path, what: str) -> str:
    """A file's text, or standard input for ``-``.

    Raises:
        InvalidArgument: it cannot be read, is too long or not UTF-8.
    """
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(TEXT_LIMIT + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise InvalidArgument(f"{what}: {path}: {error.strerror}") from None
    if len(raw) > TEXT_LIMIT:
        raise InvalidArgument(f"{what}: {path}: longer than {TEXT_LIMIT} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{what}: {path}: not UTF-8 text") from None


def read_json(path: Path, what: str) -> Any:
    """A JSON document from a file or standard input.

    Raises:
        InvalidArgument: it is not one.
    """
    text = read_text(path, what)
    if deeper_than(text, MAX_DEPTH):
        raise InvalidArgument(f"{what}: {path}: nested deeper than {MAX_DEPTH} levels")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"{what}: {path}: not JSON: {error.msg} at line {error.lineno}") from None
    except ValueError:  # of int(): Python refuses thousands of digits
        raise InvalidArgument(f"{what}: {path}: holds a number that is too long") from None


def read_password(who: str, *, stdin: bool, file: Path | None) -> str:
    """A password: from standard input, from a file, or asked for twice.

    Raises:
        InvalidArgument: both ways named, no terminal to ask at, or the two answers differ.
        ConfigError: the file or standard input holds no password.
    """
    if stdin and file is not None:
        raise InvalidArgument("give --password-stdin or --password-file, not both")
    if stdin or file is not None:
        from tidegate.config.secret_files import read_secret, read_secret_from_stdin

        if file is None or str(file) == "-":
            text = read_secret_from_stdin("password")
        else:
            text = read_secret(file, "password")
        first = text.partition("\n")[0].removesuffix("\r")
        if not first:
            raise InvalidArgument("password: the first line is empty")
        return first
    if not sys.stdin.isatty():
        raise InvalidArgument("no terminal to ask for the password: use --password-stdin or --password-file")
    first = getpass.getpass(f"Password for {visible(who)}: ")
    if not first:
        raise InvalidArgument("the password is empty")
    if getpass.getpass("Again: ") != first:
        raise InvalidArgument("the two passwords differ")
    return first


def confirm(question: str, *, yes: bool) -> None:
    """Return if the person agrees.

    Raises:
        InvalidArgument: they do not, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument("no terminal to ask at: add --yes if you are sure")
    sys.stdout.write(f"{visible(question)} [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidArgument("nothing was changed")
