# SPDX-License-Identifier: Apache-2.0
"""Reading dumps, ours and those of SFTPGo 0.9 to 2.7, as a stream of checked records.

One record and one batch are held at a time. A load is one transaction: an invalid record anywhere means that
nothing was changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO, Final

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord, ProviderError, UnknownFolder
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.changes import changed
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.policy.renames import REPLACE
from tidegate.store import versions
from tidegate.store.contract import SCOPES, LoadReport, Record
from tidegate.store.document_keys import refuse_deep
from tidegate.store.documents import (
    decode_account,
    decode_admin,
    decode_api_key,
    decode_folder,
)
from tidegate.store.json_stream import JsonWindow
from tidegate.store.legacy.mover import (
    DEFAULT_MOVE,
    NAME_KEYS,
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

RENAMES_REPLACE: Final = (
    "users: RENAME onto a name that exists replaces it, as in SFTPGo (filters.rename_onto is set to replace; "
    "user set NAME --rename-onto refuse changes that)"
)
"""Said once for a dump of SFTPGo."""
_ORDER: Final = (
    ("folders", "roles"),
    ("groups", "admins"),
    ("users",),
    ("api_keys",),
    ("event_actions",),
    ("event_rules",),
    ("ip_lists",),
)
"""Groups of kinds in the order in which they are stored; each is one pass over the file."""
StoreBatches = Callable[[AsyncGenerator[Sequence[Record], None]], Awaitable[LoadReport]]
"""Stores batches of records in one transaction."""
Hasher = Callable[[str], str]
HowFar = Callable[[int, int], None]
"""Told how many bytes of how many are read; called in a thread."""


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
        self._text = JsonWindow(stream, how_far)

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
            mover = self._work.mover
            if mover is not None and (
                (key == "groups" and mover.flattens) or mover.leaves_out(key, document)
            ):
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
            message = RENAMES_REPLACE.removeprefix("users: ")
            work.remarks.note(Subject("users"), "", message, Weight.RENAMED)
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
        assert isinstance(record, (Folder, Group, Role, EventAction, EventRule, ListEntry))
        return record

    def _hashed(self, password: str, where: str) -> str:
        if not password or looks_hashed(password):
            return password
        if self._work.hash is None:
            raise BadRecord(where, "is not a known hash, and plain text is not accepted here")
        return self._work.hash(password)


def _group(document: object, **settings: Any) -> Group:
    from tidegate.store.group_documents import decode_group

    return decode_group(document, **settings)


def _role(document: object, **settings: Any) -> Role:
    from tidegate.store.group_documents import decode_role

    return decode_role(document, **settings)


def _event_action(document: object, *, where: str = "", **_: Any) -> EventAction:
    from tidegate.rules.documents import decode_action

    return decode_action(document, where=where)


def _event_rule(document: object, *, where: str = "", **_: Any) -> EventRule:
    from tidegate.rules.documents import decode_rule

    return decode_rule(document, where=where)


def _ip_list(document: object, *, where: str = "", **_: Any) -> ListEntry:
    from tidegate.accounts.lists import decode_entry

    return decode_entry(document, where=where)


_DECODERS: Final[dict[str, Callable[..., Any]]] = {
    "users": decode_account,
    "admins": decode_admin,
    "folders": decode_folder,
    "groups": _group,
    "roles": _role,
    "api_keys": decode_api_key,
    "event_actions": _event_action,
    "event_rules": _event_rule,
    "ip_lists": _ip_list,
}
