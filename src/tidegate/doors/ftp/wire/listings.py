# SPDX-License-Identifier: Apache-2.0
"""Lines of listings: LIST as ``ls -l`` writes them, and the facts of MLSD and MLST (RFC 3659 section 7).

Names with CR or LF cannot be told over FTP; those bytes are shown as ``?``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from tidegate.doors.common.ls_lines import mode_letters
from tidegate.doors.ftp.wire.replies import plain
from tidegate.doors.ftp.wire.times import format_time
from tidegate.model import Entry, Kind

FACTS: Final = (
    "type", "size", "modify", "perm", "unique", "UNIX.mode", "UNIX.owner", "UNIX.group",
    "UNIX.ownername", "UNIX.groupname",
)  # fmt: skip
"""Facts that there are, in the order in which they are sent."""

DEFAULT_FACTS: Final = frozenset(FACTS)

_TYPES: Final = {
    Kind.FILE: "file", Kind.DIRECTORY: "dir", Kind.LINK: "OS.unix=symlink", Kind.OTHER: "OS.unix=other",
}  # fmt: skip


def list_line(entry: Entry, user: str, group: str, when: str, name: str | None = None) -> str:
    """A line of LIST without its end.

    Args:
        entry: what is listed.
        user: name of the owner, without spaces.
        group: name of the group, without spaces.
        when: twelve characters, ``Nov 22 02:39`` or ``Nov 22  2024``.
        name: shown instead of the entry's own.
    """
    shown = plain(entry.name if name is None else name)
    letters = mode_letters(entry.kind, entry.mode)
    return f"{letters} {entry.nlink:4d} {user:<8} {group:<8} {entry.size:12d} {when} {shown}"


def facts_line(
    entry: Entry,
    wanted: Collection[str],
    *,
    perm: str,
    unique: str,
    user: str,
    group: str,
    name: str,
    kind: str | None = None,
) -> str:
    """Facts and name of MLSD and MLST, without the end of the line.

    Args:
        entry: what is told of.
        wanted: facts in lower case that the client wants.
        perm: letters of the fact of that name.
        unique: the same for the same file, and for no other one.
        user: name of the owner.
        group: name of the group.
        name: of the entry, or its path.
        kind: ``cdir`` or ``pdir``; None for what the entry is.
    """
    values: dict[str, Callable[[], str]] = {
        "type": lambda: kind or _TYPES[entry.kind],
        "size": lambda: str(entry.size),
        "modify": lambda: format_time(entry.mtime_ns),
        "perm": lambda: perm,
        "unique": lambda: unique,
        "unix.mode": lambda: f"0{entry.mode & 0o7777:o}",
        "unix.owner": lambda: str(entry.uid),
        "unix.group": lambda: str(entry.gid),
        "unix.ownername": lambda: user,
        "unix.groupname": lambda: group,
    }
    facts = "".join(
        f"{fact}={values[fact.lower()]()};"
        for fact in FACTS
        if fact.lower() in wanted and not (fact == "size" and entry.kind is Kind.DIRECTORY)
    )
    return f"{facts} {plain(name)}"


def chosen_facts(argument: str) -> frozenset[str]:
    """Facts that OPTS MLST names, in lower case; unknown ones are left out (RFC 3659 section 7.9)."""
    known = {fact.lower() for fact in FACTS}
    return frozenset(word.lower() for word in argument.split(";") if word.lower() in known)


def features_of_facts(chosen: Collection[str]) -> str:
    """The line of FEAT on MLST: every fact, those sent by default with an asterisk."""
    return "MLST " + "".join(f"{fact}{'*' if fact.lower() in chosen else ''};" for fact in FACTS)
