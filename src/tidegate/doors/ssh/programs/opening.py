# SPDX-License-Identifier: Apache-2.0
"""From the words of a command to a program that may be started: paths are looked up through the vfs."""

from __future__ import annotations

import asyncio
import posixpath
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.scp.wildcards import expand
from tidegate.doors.ssh.command import ChannelCall, ChannelConversation
from tidegate.doors.ssh.programs import git_command
from tidegate.doors.ssh.programs.conversation import Prepared, ProgramConversation
from tidegate.doors.ssh.programs.hidden_names import RESERVED, remove_foreign
from tidegate.doors.ssh.programs.installed import find
from tidegate.doors.ssh.programs.process import Wanted
from tidegate.doors.ssh.programs.rsync_command import RsyncCommand, parse_rsync
from tidegate.doors.ssh.programs.staging import CopyRun, open_copy
from tidegate.errors import InvalidArgument, NotADirectory, NotFound, TidegateError, Unsupported
from tidegate.model import ROOT, Permission, ProgramDirectory, ProgramUse, VPath
from tidegate.vfs.api import ProgramRun, Session

UNFINISHED: Final = tuple(f"--filter={rule} {name}*" for name in RESERVED for rule in ("hide", "protect"))
"""Uploads under way by SFTP (`tidegate.backends.local.names`): rsync neither sends nor removes them."""

PARTIAL_TRANSFER: Final = 23
"""Exit status of rsync when not everything was transferred (RERR_PARTIAL)."""

MAX_PATHS: Final = 10_000
"""Paths that one word of a client may stand for, and that one command may name."""

GIVE_WAY_AFTER: Final = 16
"""Paths after which others have the loop: a local disk answers without waiting."""

MAX_OPENED: Final = 64
"""Directories that one program is handed; the one that holds them all in the place of more."""


def open_git(call: ChannelCall) -> ChannelConversation:
    """git-upload-pack, git-upload-archive and git-receive-pack."""
    git_command.parse_git(call.invocation.name, call.invocation.arguments)
    return ProgramConversation(call, _prepare_git)


def open_rsync(call: ChannelCall) -> ChannelConversation:
    """Run ``rsync --server``."""
    command = parse_rsync(call.invocation.arguments)
    return ProgramConversation(call, lambda call: _prepare_rsync(call, command))


def path_of(word: str, session: Session) -> VPath:
    """The path that a word means; one's own tilde outside quotes is the start directory."""
    return VPath.parse(_at_home(word, str(word), session) or ".", session.start_directory)


def _at_home(word: str, text: str, session: Session) -> str:
    if isinstance(word, Word) and word.home:
        user, _, rest = text[1:].partition("/")
        if user in ("", session.principal.username):
            return rest
    return text


async def _expanded(word: str, session: Session) -> list[VPath]:
    """The paths that a word stands for, which a shell would have expanded; the word itself if none match."""
    if isinstance(word, Word) and word.pattern:
        found = await expand(session, _at_home(word, word.pattern, session), session.start_directory)
        if len(found) > MAX_PATHS:
            raise InvalidArgument(f"rsync: {word[:80]!r} matches more than {MAX_PATHS} names")
        if found:
            return found
    return [path_of(word, session)]


async def _is_directory(session: Session, path: VPath) -> bool:
    try:
        return (await session.stat(path)).is_dir
    except (NotFound, NotADirectory):
        return False


# -- git -----------------------------------------------------------------------------------------------------


async def _prepare_git(call: ChannelCall) -> Prepared:
    session, name = call.session, call.invocation.name
    repository = await _repository(session, path_of(call.invocation.arguments[0], session))
    writes = name in git_command.WRITES
    program = await asyncio.to_thread(find, "git")
    username, protocol = session.principal.username, call.variables.get("GIT_PROTOCOL", "")

    def build(run: ProgramRun) -> Wanted:
        words = ("git", *git_command.COMMANDS[name], _word(repository, run.point))
        copied = isinstance(run, CopyRun)
        return Wanted(program, words, git_command.environment(username, protocol, copy=copied))

    use = ProgramUse.GIT_PUSH if writes else ProgramUse.GIT_FETCH
    # A push may be checked out, where the repository says so.
    reached = repository.parent if writes and repository.name == ".git" else repository
    try:
        return Prepared(use, build, await session.program(use, [ProgramDirectory(reached, writes)]))
    except Unsupported:  # no disk of this host
        run = await open_copy(session, repository, call.program_options, writes=writes)
        return Prepared(use, build, run, run.copy.store if writes else None)


async def _repository(session: Session, path: VPath) -> VPath:
    """The directory of a repository, of which parts at the end may be missing.

    Raises:
        NotFound: there is none; the text names what was asked for.
    """
    for suffix in git_command.SUFFIXES:
        found = VPath.parse(f"{path}{suffix}")
        if not await _is_directory(session, found):
            continue
        found = await session.real_path(found)
        signs = 0
        for sign in git_command.SIGNS:
            try:
                await session.stat(found.child(sign))
                signs += 1
            except TidegateError:
                break
        if signs == len(git_command.SIGNS):
            return found
    raise NotFound(f"no git repository at {path}; make one with `git init --bare` and upload it")


# -- rsync ---------------------------------------------------------------------------------------------------


async def _prepare_rsync(call: ChannelCall, command: RsyncCommand) -> Prepared:
    session = call.session
    paths: list[VPath] = []
    anchors: list[VPath | None] = []
    slashes: list[bool] = []
    directories: list[ProgramDirectory] = []
    for word in command.paths:
        for path in await _expanded(word, session) if command.sends else [path_of(word, session)]:
            if command.sends and not word.endswith("/") and path != ROOT:
                # A link at the end is sent as what it is.
                real = (await session.real_path(path.parent)).child(path.name)
            else:
                real = await session.real_path(path)
            paths.append(real)
            slashes.append(word.endswith("/"))
            anchors.append(await _anchor(command, word, real, session))
            writes = command.removes or not command.sends
            directories.append(ProgramDirectory(await _nearest(session, real), writes, command.needs))
            if len(paths) % GIVE_WAY_AFTER == 0:
                await asyncio.sleep(0)
            if len(paths) > MAX_PATHS:
                raise InvalidArgument(f"rsync: more than {MAX_PATHS} names are asked for")
    named_places: list[tuple[str, str | VPath]] = []
    for named in command.directories:
        if named.option == "--partial-dir" and "/" not in named.path and named.path not in (".", ".."):
            named_places.append((named.option, named.path))  # one in each directory
            continue
        place = await session.real_path(VPath.parse(named.path, paths[0]))
        directories.append(ProgramDirectory(await _nearest(session, place), named.writes, command.needs))
        named_places.append((named.option, place))
    program = await asyncio.to_thread(find, "rsync")

    def build(run: ProgramRun) -> Wanted:
        added = list(UNFINISHED)
        if not command.own_links:
            links = Permission.CREATE_SYMLINKS in run.granted
            added.append("--safe-links" if links else "--munge-links")
        chown = command.owners and Permission.CHOWN in run.granted
        if not command.sends:
            added.append("--chmod=ug-s")  # clients set neither set-user-id nor set-group-id bits
            if not chown:
                added.append("--no-super")
        words = [
            _anchored(path, anchor, run.point) + ("/" if slash and path != run.point else "")
            for slash, path, anchor in zip(slashes, paths, anchors, strict=True)
        ]
        options: list[str | tuple[str]] = []
        for option, place in named_places:
            word = (place.relative_to(run.point),) if isinstance(place, VPath) else place
            options += [option, word]
        sender = ["--sender"] if command.sends else []
        argv = ("rsync", "--server", *sender, *command.options, *options, *added, ".", *words)
        return Wanted(program, argv, {"HOME": "/nonexistent"}, chown=chown)

    use = ProgramUse.RSYNC_READ if command.sends else ProgramUse.RSYNC_WRITE
    links = any(named.option == "--link-dest" for named in command.directories)
    wanted = _joined(directories) if links else _merged(directories)
    if len(wanted) > MAX_OPENED:
        wanted = _joined(wanted)
    try:
        run = await session.program(use, wanted)
        return Prepared(use, build, run, afterwards=None if command.sends else _without_hidden_names)
    except Unsupported as error:
        session.failed(use, paths[0], error)
        raise


async def _without_hidden_names(run: ProgramRun) -> tuple[int, str]:
    """Remove what rsync stored under names of the server's own; returns what the client is told."""
    written = [one.fd for one in run.directories if one.writes]
    removed = await asyncio.to_thread(remove_foreign, written)
    if not removed:
        return 0, ""
    names = " and ".join(f"{name}*" for name in RESERVED)
    return PARTIAL_TRANSFER, f"names like {names} are the server's own: {removed} were not kept"


async def _anchor(command: RsyncCommand, word: str, path: VPath, session: Session) -> VPath | None:
    """The directory from which on names are sent with ``-R``; None for the root of the tree."""
    if not (command.sends and command.relative):
        return None
    head, dots, _ = word.partition("/./")
    if not dots:
        absolute = word.startswith("/") or (isinstance(word, Word) and word.home)
        head = "/" if absolute else "."
    anchor = await session.real_path(path_of(head or "/", session))
    return anchor if anchor != ROOT and path.is_within(anchor) and path != anchor else None


def _anchored(path: VPath, anchor: VPath | None, point: VPath) -> str:
    if anchor is None or not anchor.is_within(point) or anchor == point:
        return _word(path, point)
    return f"{_word(anchor, point)}/./{path.relative_to(anchor)}"


async def _nearest(session: Session, path: VPath) -> VPath:
    """The directory itself, else the nearest one above it that is there; without links on the way."""
    for above in path.ancestors():
        try:
            entry = await session.stat(above, follow=False)
        except (NotFound, NotADirectory):
            continue
        if entry.is_dir:
            return above
    return ROOT


def _merged(directories: list[ProgramDirectory]) -> list[ProgramDirectory]:
    """Each directory once, and those only that no other one holds with the same rights; in order."""
    found: dict[VPath, ProgramDirectory] = {}
    for one in directories:
        other = found.get(one.path, one)
        found[one.path] = ProgramDirectory(one.path, one.writes or other.writes, one.needs | other.needs)
    return [
        one
        for one in found.values()
        if not any(
            (holder := found.get(above)) is not None
            and (holder.writes or not one.writes)
            and one.needs <= holder.needs
            for above in one.path.ancestors()[1:]
        )
    ]


def _joined(directories: list[ProgramDirectory]) -> list[ProgramDirectory]:
    """The directory that holds all of them: names of one file do not reach from one to another."""
    path = VPath(posixpath.commonpath([one.path for one in directories]))
    needs = frozenset[Permission]().union(*(one.needs for one in directories))
    return [ProgramDirectory(path, any(one.writes for one in directories), needs)]


def _word(path: VPath, point: VPath) -> str:
    """A path as a word for a program whose working directory is `point`; never an option."""
    text = path.relative_to(point)
    if not text:
        return "."
    return f"./{text}" if text.startswith("-") else text
