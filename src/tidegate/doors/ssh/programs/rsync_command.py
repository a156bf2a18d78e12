# SPDX-License-Identifier: Apache-2.0
"""Command lines that an rsync client has its server run: ``rsync --server [--sender] -flags . path...``.

Options are taken by an allow-list; what is not known is refused by name, because an option of a later rsync
may name a file or start a program. Values that name directories are taken out, to be judged like the paths.

Where an option matters to nothing but the server's side it may be added without the client knowing (links,
owners). The others say what goes over the wire, so that they are obeyed or refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.errors import Denied, InvalidArgument
from tidegate.model import Permission

MAX_VALUE: Final = 4096
"""Characters of an option's value."""

_CLUSTER: Final = re.compile(r"-([A-Za-df-z]+)?(e[0-9]{0,3}\.[A-Za-z]{0,32})?")
"""Short options; the capabilities of the client stand behind ``e`` (rsync's compat.c)."""

_SHORT: Final = frozenset("vqbudlHkLWpAXEogtUNOJrRzcxSnmyiCDI")
"""Short options a client may send: those of rsync 2.6 to 3.5 but for ``K`` (follows links that are in the
target) and ``s`` (sends the arguments where nobody has looked at them)."""

_PLAIN: Final = frozenset(
    (
        "--append", "--atimes", "--copy-links", "--copy-unsafe-links", "--delay-updates", "--delete",
        "--delete-after", "--delete-before", "--delete-delay", "--delete-during", "--delete-excluded",
        "--delete-missing-args", "--dirs", "--existing", "--force", "--from0", "--fsync", "--fuzzy",
        "--ignore-errors", "--ignore-existing", "--ignore-missing-args", "--inplace", "--list-only",
        "--mkpath",
        "--msgs2stderr", "--new-compress", "--no-W", "--no-dirs", "--no-inc-recursive", "--no-i-r",
        "--no-msgs2stderr", "--no-r", "--no-relative", "--no-specials", "--no-whole-file", "--numeric-ids",
        "--old-compress", "--one-file-system", "--open-noatime", "--partial", "--preallocate",
        "--prune-empty-dirs", "--remove-sent-files", "--remove-source-files", "--safe-links", "--munge-links",
        "--size-only", "--sparse", "--stats", "--update", "--use-qsort", "--whole-file", "--zl", "--zc",
    )
)  # fmt: skip
"""Long options without a value."""

_VALUES: Final = {
    "--block-size": r"[0-9]{1,12}",
    "--bwlimit": r"[0-9.]{1,12}[KMGTPkmgtp]?",
    "--checksum-choice": r"[a-z0-9,]{1,64}",
    "--checksum-seed": r"[0-9]{1,12}",
    "--compress-choice": r"[a-z0-9]{1,32}",
    "--compress-level": r"-?[0-9]{1,8}",
    "--compress-threads": r"[0-9]{1,2}",
    "--debug": r"[A-Za-z0-9,]{1,200}",
    "--groupmap": r"[^\0-\x1f]{1,1000}",
    "--iconv": r"[A-Za-z0-9_:.-]{1,64}",
    "--info": r"[A-Za-z0-9,]{1,200}",
    "--log-format": r"[^\0-\x1f]{0,200}",
    "--max-alloc": r"[0-9.]{1,12}[KMGTPkmgtp]?[Bb]?",
    "--max-delete": r"-?[0-9]{1,12}",
    "--max-size": r"[0-9.]{1,20}[KMGTPkmgtp]?[Bb]?",
    "--min-size": r"[0-9.]{1,20}[KMGTPkmgtp]?[Bb]?",
    "--modify-window": r"-?[0-9]{1,8}",
    "--skip-compress": r"[^\0-\x1f]{0,2000}",
    "--stop-after": r"[0-9]{1,12}",
    "--stop-at": r"[0-9/:T-]{1,32}",
    "--suffix": r"[^\0-\x1f/]{1,64}",
    "--timeout": r"[0-9]{1,8}",
    "--usermap": r"[^\0-\x1f]{1,1000}",
}
"""Long options with a value, and what it has to be."""

_LOOKED_AT: Final = ("--compare-dest", "--copy-dest", "--link-dest")
_WRITTEN: Final = ("--backup-dir", "--partial-dir", "--temp-dir")
DIRECTORIES: Final = (*_LOOKED_AT, *_WRITTEN)
"""Options whose value is a directory, relative to the target."""

MAX_DIRECTORIES: Final = 24
"""Such options of one command; rsync itself takes 20 of `_LOOKED_AT`."""

_WHY: Final = {
    "--secluded-args": "it hides the arguments; run the client with --no-secluded-args",
    "--protect-args": "it hides the arguments; run the client with --no-protect-args",
    "-s": "it hides the arguments; run the client with --no-secluded-args, or --no-protect-args before 3.2.6",
    "-K": "it follows links that lie in the target",
    "--keep-dirlinks": "it follows links that lie in the target",
    "--no-implied-dirs": "it follows links that lie in the target",
    "--daemon": "there is no rsync daemon here",
    "--config": "there is no rsync daemon here",
    "--rsh": "a server starts no shell",
    "--files-from": "only a list that the client has can be sent, no file of the server",
    "--log-file": "the server's log is not the client's",
    "--write-devices": "there are no devices here",
    "--copy-devices": "there are no devices here",
    "--super": "the account's rules say what is done as whom",
    "--fake-super": "the account's rules say what is done as whom",
}
"""Words on some of the options that are refused."""


@dataclass(frozen=True, slots=True)
class RsyncDirectory:
    """A directory that an option names.

    Attributes:
        option: its name.
        path: as sent, relative to the target or absolute.
        writes: True if rsync writes there.
    """

    option: str
    path: str
    writes: bool


@dataclass(frozen=True, slots=True)
class RsyncCommand:
    """A command line that may be run once its paths are judged.

    Attributes:
        sends: True if the server sends: the client downloads.
        options: for the program, `DIRECTORIES` left out.
        directories: of those.
        paths: what is sent, or the one target.
        relative: names are sent with the whole path (``-R``).
        removes: what was sent is removed (``--remove-source-files``).
        needs: permissions beyond those for content and names.
        own_links: True if the client said itself what is to be done with links.
        owners: True if owners are to be set.
        makes_path: True if missing directories on the way to the target are made.
    """

    sends: bool
    options: tuple[str, ...]
    directories: tuple[RsyncDirectory, ...]
    paths: tuple[str, ...]
    relative: bool
    removes: bool
    needs: frozenset[Permission]
    own_links: bool
    owners: bool
    makes_path: bool


def parse_rsync(words: Sequence[str]) -> RsyncCommand:
    """Read what follows the word ``rsync``.

    Raises:
        Denied: an option that is not allowed; the text names it.
        InvalidArgument: this is not how an rsync client calls its server.
    """
    if not words or words[0] != "--server":
        raise InvalidArgument("rsync: only --server is run here, as an rsync client asks for it")
    rest = list(words[1:])
    sends = bool(rest) and rest[0] == "--sender"
    if sends:
        del rest[0]
    options: list[str] = []
    directories: list[RsyncDirectory] = []
    letters: set[str] = set()
    while rest and rest[0] != ".":
        _option(rest.pop(0), rest, options, directories, letters)
    paths = tuple(rest[1:])
    if not paths or (len(paths) != 1 and not sends):
        raise InvalidArgument("rsync: expected `.` and then one target, or what is to be sent")
    if len(directories) > MAX_DIRECTORIES:
        raise InvalidArgument(f"rsync: more than {MAX_DIRECTORIES} options that name a directory")
    given = set(options)
    return RsyncCommand(
        sends=sends,
        options=tuple(options),
        directories=tuple(directories),
        paths=paths,
        relative="R" in letters,
        removes=bool(given & {"--remove-source-files", "--remove-sent-files"}),
        needs=frozenset() if sends else _needs(letters, given),
        own_links=bool(given & {"--safe-links", "--munge-links"}),
        owners=bool(letters & set("og")),
        makes_path="--mkpath" in given,
    )


def _option(
    word: str, rest: list[str], options: list[str], directories: list[RsyncDirectory], letters: set[str]
) -> None:
    if word.startswith("--"):
        _long(word, rest, options, directories)
        return
    if re.fullmatch(r"-B[0-9]{1,12}", word):
        options.append(word)
        return
    match = _CLUSTER.fullmatch(word)
    if match is None or word == "-":
        raise _refused(word)
    found = match[1] or ""
    bad = next((letter for letter in found if letter not in _SHORT), None)
    if bad is not None:
        raise _refused(f"-{bad}")
    letters.update(found)
    options.append(word)


def _long(word: str, rest: list[str], options: list[str], directories: list[RsyncDirectory]) -> None:
    name, equals, value = word.partition("=")
    if name in DIRECTORIES:
        if not equals:
            if not rest:
                raise InvalidArgument(f"rsync: {name} needs a directory")
            value = rest.pop(0)
        if not value or len(value) > MAX_VALUE:
            raise InvalidArgument(f"rsync: {name} needs a directory of 1 to {MAX_VALUE} characters")
        directories.append(RsyncDirectory(name, value, name in _WRITTEN))
    elif name == "--files-from":
        if not equals:
            value = rest.pop(0) if rest else ""
        if value != "-":
            raise _refused(name)
        options.append("--files-from=-")
    elif not equals and name in _PLAIN:
        options.append(word)
    elif equals and name in _VALUES:
        if not re.fullmatch(_VALUES[name], value):
            raise InvalidArgument(f"rsync: {name} cannot be {value[:80]!r}")
        options.append(word)
    else:
        raise _refused(name)


def _needs(letters: set[str], options: set[str]) -> frozenset[Permission]:
    needs = set()
    if letters & set("pAXE"):
        needs.add(Permission.CHMOD)
    if letters & set("tUN"):
        needs.add(Permission.CHTIMES)
    if any(option.startswith(("--usermap", "--groupmap")) for option in options):
        needs.add(Permission.CHOWN)
    return frozenset(needs)


def _refused(option: str) -> Denied:
    shown = option[:80]
    why = _WHY.get(shown, "not among those that are known to be harmless")
    return Denied(f"rsync: option {shown!r} is not allowed: {why}", rule="ssh_command")
