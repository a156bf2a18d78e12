# SPDX-License-Identifier: Apache-2.0
"""Remarks of a move: grouped and counted for reading, one by one for a report.

Remarks about what restricts are never cut; the others are one line for each kind of remark, however many
records they concern.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tidegate.errors import BadRecord, BadRecords

log = logging.getLogger(__name__)

MAX_NAMED: Final = 3
"""Records that a grouped remark names; the rest are counted."""
MAX_GROUPS: Final = 500
"""Different remarks that are kept apart; further ones are counted together."""
MAX_MISTAKES: Final = 200
"""Mistakes told one by one; further ones are counted."""


class Weight(enum.IntEnum):
    """Weights of a remark; from `RENAMED` on each is told by itself."""

    NOTE = 0
    RENAMED = 1
    OPENED = 2
    RESTRICTS = 3
    LEFT_OUT = 4
    CLOSED = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """A record that remarks are about.

    Attributes:
        section: ``users``, ``admins``, ``folders``, ``api_keys``; another part of the dump otherwise.
        index: position in the section; -1 for the part as a whole.
        name: of the record, as the dump has it.
        here: its name here, if that differs.
    """

    section: str
    index: int = -1
    name: str = ""
    here: str = ""

    def __str__(self) -> str:
        place = self.section if self.index < 0 else f"{self.section}[{self.index}]"
        return f"{place} ({self.name})" if self.name else place


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that an operator should know.

    Attributes:
        subject: whom it is about.
        field: for instance ``filters.hooks``; may be empty.
        what: what happened, and what to do.
        weight: see `Weight`.
    """

    subject: Subject
    field: str
    what: str
    weight: Weight = Weight.NOTE

    def __str__(self) -> str:
        return f"{self.subject}: {self.field}: {self.what}" if self.field else f"{self.subject}: {self.what}"


@dataclass(slots=True)
class _Group:
    count: int = 0
    names: list[str] = field(default_factory=list)
    first: Remark | None = None


class Remarks:
    """Remarks and mistakes of one load.

    Args:
        every: keep each remark by itself too, for a report.
    """

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._all: list[Remark] = []
        self._heavy: list[Remark] = []
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self.mistakes: list[tuple[Subject, BadRecord]] = []

    def add(self, remark: Remark) -> None:
        """Take a remark."""
        if self._every:
            self._all.append(remark)
        if remark.weight:
            self._heavy.append(remark)
            return
        key = (remark.subject.section, remark.field, remark.what)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = (remark.subject.section, "", "further remarks")
        group = self._groups.setdefault(key, _Group())
        group.count += 1
        if group.first is None:
            group.first = remark
        if remark.subject.name and len(group.names) < MAX_NAMED:
            group.names.append(remark.subject.name)

    def note(self, subject: Subject, field: str, what: str, weight: Weight = Weight.NOTE) -> None:
        """As `add`."""
        self.add(Remark(subject, field, what, weight))

    def mistake(self, subject: Subject, error: BadRecord) -> None:
        """Take a mistake; the record it is about is not loaded."""
        self.mistakes.append((subject, error))
        place = f"{subject.section}[{subject.index}]"
        field = error.field.removeprefix(place).lstrip(".") if error.field.startswith(place) else error.field
        self.add(Remark(subject, field, f"left out: {error.what}", Weight.LEFT_OUT))

    def of_weight(self, weight: Weight) -> list[Remark]:
        """The remarks of one weight, in the order in which they came; none for `Weight.NOTE`."""
        return [remark for remark in self._heavy if remark.weight is weight]

    @property
    def grouped(self) -> int:
        """The number of `lines` that are grouped remarks; they come first."""
        return len(self._groups)

    def every(self) -> list[Remark]:
        """Each remark by itself, if they are kept."""
        return self._all

    def lines(self) -> Iterator[str]:
        """The remarks as lines: the grouped ones first, the heaviest last."""
        for (section, place, what), group in self._groups.items():
            if group.count == 1 and group.first is not None and what == group.first.what:
                yield str(group.first)
                continue
            named = ", ".join(group.names)
            more = f", and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
            who = f" ({named}{more})" if named else ""
            yield (
                f"{group.count} {section}{who}: {place}: {what}"
                if place
                else f"{group.count} {section}: {what}"
            )
        yield from (str(remark) for remark in sorted(self._heavy, key=lambda remark: remark.weight))

    def refuse(self) -> None:
        """Return if there is no mistake.

        Raises:
            BadRecords: all of them.
        """
        if not self.mistakes:
            return
        lines = [_by_name(subject, error) for subject, error in self.mistakes[:MAX_MISTAKES]]
        if len(self.mistakes) > MAX_MISTAKES:
            lines.append(f"and {len(self.mistakes) - MAX_MISTAKES} more mistakes")
        first = self.mistakes[0][1]
        raise BadRecords(first.field, first.what, lines)


def _by_name(subject: Subject, error: BadRecord) -> str:
    """A mistake with the record's name beside its place."""
    place = f"{subject.section}[{subject.index}]"
    if not subject.name or not error.field.startswith(place):
        return str(error)
    return f"{subject}{error.field.removeprefix(place)}: {error.what}"
