# SPDX-License-Identifier: Apache-2.0
"""Backup and restore as a stream: one JSON object with a list for each kind of record.

Writing holds one batch of records at a time, reading one record and one batch, so that 100 000 accounts need
no more memory than a hundred. Loading is one transaction: an invalid record anywhere means that nothing
was changed.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, TypeVar

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord, ProviderError, UnknownFolder
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.changes import changed
from tidegate.policy.renames import REPLACE
from tidegate.store import versions
from tidegate.store.contract import LoadReport, Order, Provider, Record
from tidegate.store.documents import (
    decode_account,
    decode_admin,
    decode_api_key,
    decode_folder,
    encode_account,
    encode_admin,
    encode_api_key,
    encode_folder,
    refuse_deep,
)
from tidegate.store.legacy.mover import (
    DEFAULT_MOVE,
    NAME_KEYS,
    OURS,
    Facts,
    MoveOptions,
    Mover,
    Survey,
    record_name,
)
from tidegate.store.legacy.remarks import Remarks, Subject, Weight
from tidegate.store.options import ProviderOptions
from tidegate.store.streams import BATCH_RECORDS
from tidegate.store.validate import looks_hashed

T = TypeVar("T")

DUMP_VERSION: Final = 17
"""Version number in dumps we write: the 2.x format that loads here and there."""

SCOPES: Final = ("users", "folders", "admins", "api_keys")
MAX_RECORD_CHARS: Final = 16 * 1024 * 1024
"""Longest single record of a dump."""
READ_BYTES: Final = 256 * 1024
RENAMES_REPLACE: Final = (
    "users: RENAME onto a name that exists replaces it, as in SFTPGo (filters.rename_onto is set to replace; "
    "user set NAME --rename-onto refuse changes that)"
)
"""Said once for a dump of SFTPGo."""

_ORDER: Final = (("folders", "admins"), ("users",), ("api_keys",))
"""What has to be stored before what; each group is one pass over the file."""

StoreBatches = Callable[[AsyncGenerator[Sequence[Record], None]], Awaitable[LoadReport]]
"""Stores batches of records in one transaction."""

Hasher = Callable[[str], str]

HowFar = Callable[[int, int], None]
"""Told how many bytes of how many are read; called in a thread."""


# --- writing --------------------------------------------------------------------------------------------


async def dump(
    provider: Provider,
    scopes: Iterable[str] = SCOPES,
    *,
    indent: bool = False,
    written: Callable[[int], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The whole provider, secrets included, as chunks of one JSON document.

    Args:
        provider: an open provider.
        scopes: which of `SCOPES` to write.
        indent: one record over several lines, for people.
        written: told how many users each chunk holds.

    Raises:
        BadRecord: a scope does not exist.
    """
    wanted = list(dict.fromkeys(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise BadRecord("scopes", f"{scope!r} is not one of {', '.join(SCOPES)}")
    pages: dict[str, AsyncIterator[dict[str, Any]]] = {
        "folders": _folders(provider),
        "admins": _admins(provider),
        "users": _users(provider),
        "api_keys": _api_keys(provider),
    }
    yield f'{{"{OURS}":1,\n'.encode()
    for scope, records in pages.items():
        if scope not in wanted:
            continue
        yield f'"{scope}":['.encode()
        first = True
        async with contextlib.aclosing(_chunks(records, indent=indent)) as chunks:
            async for chunk, count in chunks:
                yield chunk if first else b"," + chunk
                first = False
                if written is not None and scope == "users":
                    written(count)
        yield b"],\n"
    yield f'"version":{DUMP_VERSION}}}\n'.encode()


async def _chunks(
    records: AsyncIterator[dict[str, Any]], *, indent: bool
) -> AsyncGenerator[tuple[bytes, int], None]:
    batch: list[str] = []
    async for record in records:
        batch.append(json.dumps(record, indent=2 if indent else None, ensure_ascii=False))
        if len(batch) == BATCH_RECORDS:
            yield ",\n".join(batch).encode(), len(batch)
            batch.clear()
    if batch:
        yield ",\n".join(batch).encode(), len(batch)


async def _users(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for account in provider.iter_users():
        yield encode_account(account, confidential=True)


async def _folders(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for folder in _paged(provider.folders):
        yield encode_folder(folder, confidential=True)


async def _admins(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for admin in _paged(provider.admins):
        yield encode_admin(admin, confidential=True)


async def _api_keys(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for key in _paged(provider.api_keys):
        yield encode_api_key(key, confidential=True)


async def _paged(page: Callable[..., Awaitable[list[T]]]) -> AsyncIterator[T]:
    order: Order = "ASC"
    offset = 0
    while batch := await page(offset=offset, limit=BATCH_RECORDS, order=order):
        for record in batch:
            yield record
        offset += len(batch)


# --- reading --------------------------------------------------------------------------------------------


async def load_file(
    store: StoreBatches,
    source: Path | BinaryIO,
    *,
    rules: Rules = DEFAULT_RULES,
    hash_password: Hasher | None = None,
    move: MoveOptions = DEFAULT_MOVE,
    how_far: HowFar | None = None,
) -> LoadReport:
    """Load a dump, ours or of SFTPGo 0.9 to 2.7, in one transaction.

    Args:
        store: stores the batches of records; `accounts.loads.Loads.store` with its mode and actor.
        source: the file, or a seekable binary stream.
        rules: settings that decide what is valid.
        hash_password: turns plain-text passwords into hashes, off the loop; without it they are refused.
        move: decisions of the operator about a dump of SFTPGo.
        how_far: told about the progress.

    Returns:
        what became of each record, and remarks on what has no effect here.

    Raises:
        BadRecords: with every mistake, by place and name; nothing was changed.
        BadRecord: the file is no dump, or `store` refuses; nothing was changed.
    """
    remarks = Remarks(every=move.every_remark)
    work = _Work(rules, hash_password, move, remarks, how_far)
    async with contextlib.aclosing(_batches(source, work)) as batches:
        try:
            report = await store(batches)
        except UnknownFolder as error:
            raise await asyncio.to_thread(_placed, error, source) from None
    return replace(report, notes=tuple(remarks.lines()), remarks=remarks)


def _placed(error: UnknownFolder, source: Path | BinaryIO) -> UnknownFolder:
    """The error with its place in the file: the first user who mounts the folder without describing it."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        for section, index, document in _Walk(stream).items():
            user = document if section == "users" and isinstance(document, dict) else {}
            mounts = user.get("virtual_folders")
            for position, mount in enumerate(mounts if isinstance(mounts, list) else ()):
                if (
                    isinstance(mount, dict)
                    and mount.get("name") == error.folder
                    and not mount.get("mapped_path")
                ):
                    return UnknownFolder(position, error.folder, f"users[{index}].")
    return error


async def file_batches(
    source: Path | BinaryIO,
    options: ProviderOptions,
    notes: list[str],
    *,
    move: MoveOptions = DEFAULT_MOVE,
    remarks: Remarks | None = None,
    how_far: HowFar | None = None,
) -> AsyncGenerator[Sequence[Record], None]:
    """The records of a dump as a provider's own options read them; for the memory driver.

    Raises:
        BadRecords: at the end, with every mistake.
    """
    kept = remarks if remarks is not None else Remarks(every=move.every_remark)
    work = _Work(options.rules, options.hash_password, move, kept, how_far)
    async with contextlib.aclosing(_batches(source, work)) as batches:
        async for batch in batches:
            yield batch
    notes.extend(kept.lines())


@dataclass(slots=True)
class _Work:
    """Shared by the passes over one dump."""

    rules: Rules
    hash: Hasher | None
    move: MoveOptions
    remarks: Remarks
    how_far: HowFar | None = None
    facts: Facts = field(default_factory=Facts)
    mover: Mover | None = None
    told: bool = False
    sections: set[str] = field(default_factory=set)
    passed: int = 0

    def watch(self, stream: BinaryIO) -> Callable[[int], None] | None:
        """The callback that is told how much one more pass has read; blocking."""
        how_far = self.how_far
        if how_far is None:
            return None
        size = stream.seek(0, SEEK_END)
        # Before the first pass is over nobody knows how many there will be: most dumps need two.
        passes = 1 + max(1, sum(1 for group in _ORDER if self.sections.intersection(group)))
        before, total = self.passed * size, passes * size
        self.passed += 1
        return lambda read: how_far(before + read, total)


async def _batches(source: Path | BinaryIO, work: _Work) -> AsyncGenerator[Sequence[Record], None]:
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            try:
                stream: BinaryIO = stack.enter_context(await asyncio.to_thread(source.open, "rb"))
            except OSError as error:
                raise ProviderError(f"cannot read the dump {source.name}: {error.strerror}") from None
        else:
            stream = source
        await asyncio.to_thread(_survey, stream, work)
        for group in _ORDER:
            if not work.sections.intersection(group):
                continue
            reader = await asyncio.to_thread(_Reader, stream, group, work)
            records = reader.records()
            while batch := await asyncio.to_thread(reader.take, records):
                yield batch
    if not work.move.leave_out:
        work.remarks.refuse()


def _survey(stream: BinaryIO, work: _Work) -> None:
    """The first pass: what has to be known of the dump as a whole. Blocking."""
    survey = Survey(work.rules)
    sections: list[tuple[str, object]] = []
    for key, index, value in _Walk(stream, work.watch(stream)).items():
        if index < 0:
            survey.section(key, value)
            sections.append((key, value))
        else:
            work.sections.add(key)
            survey.record(key, index, value)
    work.facts = survey.facts
    if not survey.facts.ours:
        work.mover = Mover(survey.facts, work.move, work.remarks, work.rules)
        work.mover.sections(sections)


class _Walk:
    """One pass over a dump: its records and its other parts, in the order of the file."""

    def __init__(self, stream: BinaryIO, how_far: Callable[[int], None] | None = None) -> None:
        self._text = _Window(stream, how_far)

    def items(self) -> Iterator[tuple[str, int, object]]:
        """(section, index, document) of each record; index -1 for a part that is no list of records."""
        text = self._text
        text.rewind()
        if text.peek() == "[":
            text.fail(
                "", "a dump must be a JSON object; a list as GET /api/v1/user gives it has no passwords"
            )
        text.expect("{", "a dump must be a JSON object")
        seen: set[str] = set()
        closed = text.peek() == "}"
        while not closed:
            key = text.value("")
            if not isinstance(key, str):
                text.fail("", "a key must be a text")
            if key in seen:
                raise BadRecord(key, "is given twice")
            seen.add(key)
            text.expect(":", "':' is missing after a key")
            if key in SCOPES and text.peek() == "[":
                yield from self._section(key)
            else:
                value = text.value(key)
                if key in SCOPES and value is not None:
                    raise BadRecord(key, "should be a list")
                yield key, -1, value
            closed = text.peek() == "}"
            if not closed:
                text.expect(",", "',' or '}' is missing")
        text.expect("}", "'}' is missing")
        if text.peek():
            text.fail("", "something follows the end of the document")

    def _section(self, key: str) -> Iterator[tuple[str, int, object]]:
        text = self._text
        text.expect("[", "'[' is missing")
        index = 0
        closed = text.peek() == "]"
        while not closed:
            yield key, index, text.value(f"{key}[{index}]")
            closed = text.peek() == "]"
            if not closed:
                text.expect(",", f"{key}[{index}]: ',' or ']' is missing")
            index += 1
        text.expect("]", "']' is missing")


class _Reader:
    """One pass that decodes the records of one group. Blocking: runs in a thread."""

    def __init__(self, stream: BinaryIO, group: Sequence[str], work: _Work) -> None:
        self._group = group
        self._work = work
        self._walk = _Walk(stream, work.watch(stream))

    def take(self, records: Iterator[Record]) -> list[Record]:
        """The next batch; empty at the end."""
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            if len(batch) == BATCH_RECORDS:
                break
        return batch

    def records(self) -> Iterator[Record]:
        """The records without a mistake; mistakes are kept for the end."""
        for key, index, document in self._walk.items():
            if index < 0 or key not in self._group:
                continue
            try:
                yield self._record(key, index, document)
            except BadRecord as error:
                subject = Subject(key, index, record_name(key, document))
                self._work.remarks.mistake(subject, error)

    def _record(self, key: str, index: int, document: object) -> Record:
        work, where = self._work, f"{key}[{index}]."
        if (repeated := work.facts.repeated.get((key, index))) is not None:
            raise BadRecord(f"{where}{NAME_KEYS[key]}", repeated)
        replaces = work.mover is not None and key == "users" and versions.renames_replace(document)
        if replaces and not work.told:
            work.told = True
            said = RENAMES_REPLACE.removeprefix("users: ")
            work.remarks.note(Subject("users"), "", said, Weight.RENAMED)
        notes: list[str] | None = []
        owned = isinstance(document, dict)
        if isinstance(document, dict):
            refuse_deep(document, where)
        if work.mover is not None and isinstance(document, dict):
            try:
                document = work.mover.record(key, index, document)
            except (TypeError, AttributeError, ValueError):  # a list where a text should be, and the like
                raise BadRecord(where.rstrip("."), "is not of the form that SFTPGo writes") from None
            notes = None
            if replaces:
                document["filters"]["rename_onto"] = REPLACE
        record = _DECODERS[key](
            document, where=where, lenient=True, notes=notes, rules=work.rules, owned=owned
        )
        for line in notes or ():
            place, _, what = line.removeprefix(where).partition(": ")
            work.remarks.note(Subject(key, index, record_name(key, document)), place, what)
        if isinstance(record, (Account, Admin)):
            return changed(record, password=self._hashed(record.password, f"{where}password"))
        if isinstance(record, ApiKey):
            return changed(record, key=self._hashed(record.key, f"{where}key"))
        assert isinstance(record, Folder)
        return record

    def _hashed(self, password: str, where: str) -> str:
        if not password or looks_hashed(password):
            return password
        if self._work.hash is None:
            raise BadRecord(where, "is not a known hash, and plain text is not accepted here")
        return self._work.hash(password)


_DECODERS: Final[dict[str, Callable[..., Any]]] = {
    "users": decode_account,
    "admins": decode_admin,
    "folders": decode_folder,
    "api_keys": decode_api_key,
}


class _Window:
    """JSON text of any size, looked at through a window that slides; values come one at a time."""

    def __init__(self, stream: BinaryIO, how_far: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._how_far = how_far
        self._taken = 0
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._reset()

    def _reset(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._at = 0
        self._end = False

    def rewind(self) -> None:
        """Begin again."""
        self._stream.seek(0)
        self._reset()

    def peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in " \t\r\n":
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(READ_BYTES):
                return ""

    def expect(self, character: str, otherwise: str) -> None:
        """Step over one character.

        Raises:
            BadRecord: something else is there.
        """
        if self.peek() != character:
            self.fail("", otherwise)
        self._at += 1

    def value(self, where: str) -> object:
        """Decode the next value.

        Raises:
            BadRecord: it is not JSON, or too long.
        """
        self.peek()
        size = READ_BYTES
        while True:
            problem = ""
            try:
                found, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError:
                self.fail(where, "is nested too deep")
            except ValueError as error:
                # Cut off or wrong? More text tells, as long as there is some.
                problem = f"is not JSON: {getattr(error, 'msg', error)}"
            else:
                # A number may go on in what was not read yet.
                if end < len(self._buffer) or self._end:
                    self._at = end
                    return found
            if problem and self._end:
                self.fail(where, problem)
            if len(self._buffer) - self._at > MAX_RECORD_CHARS:
                self.fail(where, f"is not JSON, or longer than {MAX_RECORD_CHARS} characters")
            self._more(size)
            size *= 2

    def fail(self, where: str, what: str) -> NoReturn:
        """Raise for what is wrong here."""
        raise BadRecord(where, what)

    def _more(self, size: int) -> bool:
        """Slide the window on; False at the end."""
        if self._end:
            return False
        data = self._stream.read(size)
        self._taken += len(data)
        if self._how_far is not None:
            self._how_far(self._taken)
        try:
            text = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError:
            self.fail("", "is not UTF-8 text")
        self._end = not data
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        return not self._end


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
