# SPDX-License-Identifier: Apache-2.0
"""From the words of a command to a program that may be started: paths are looked up through the vfs."""

from __future__ import annotations

import asyncio
import posixpath

from tidegate.doors.common.command_line import Word
from tidegate.doors.ssh.command import ChannelCall, ChannelConversation
from tidegate.doors.ssh.programs import git_command
from tidegate.doors.ssh.programs.conversation import Prepared, ProgramConversation
from tidegate.doors.ssh.programs.installed import find
from tidegate.doors.ssh.programs.process import Wanted
from tidegate.doors.ssh.programs.rsync_command import RsyncCommand, parse_rsync
from tidegate.errors import NotADirectory, NotFound, TidegateError
from tidegate.model import ROOT, Permission, ProgramDirectory, ProgramUse, VPath
from tidegate.vfs.api import ProgramRun, Session


def open_git(call: ChannelCall) -> ChannelConversation:
    """git-upload-pack, git-upload-archive and git-receive-pack."""
    git_command.parse_git(call.invocation.name, call.invocation.arguments)
    return ProgramConversation(call, _prepare_git)


def open_rsync(call: ChannelCall) -> ChannelConversation:
    """Run ``rsync --server``."""
    command = parse_rsync(call.invocation.arguments)
    return ProgramConversation(call, lambda call: _prepare_rsync(call, command))


def path_of(word: str, session: Session) -> VPath:
    """The path that a word means; a tilde outside quotes is the home."""
    if isinstance(word, Word) and word.home:
        head, _, rest = word.partition("/")
        if head == "~":
            return VPath.parse(rest, ROOT)
    return VPath.parse(word, session.start_directory)


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
    environment = git_command.environment(session.principal.username, call.variables.get("GIT_PROTOCOL", ""))

    def build(run: ProgramRun) -> Wanted:
        return Wanted(
            program, ("git", *git_command.COMMANDS[name], _word(repository, run.point)), environment
        )

    use = ProgramUse.GIT_PUSH if writes else ProgramUse.GIT_FETCH
    return Prepared(use, [ProgramDirectory(repository, writes)], build)


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
    directories: list[ProgramDirectory] = []
    for word in command.paths:
        path = path_of(word, session)
        if command.sends and not word.endswith("/") and path != ROOT:
            # A link at the end is sent as what it is.
            real = (await session.real_path(path.parent)).child(path.name)
        else:
            real = await session.real_path(path)
        paths.append(real)
        writes = command.removes or not command.sends
        directories.append(ProgramDirectory(await _nearest(session, real), writes, command.needs))
    options: list[str] = []
    for named in command.directories:
        place = await session.real_path(VPath.parse(named.path, paths[0]))
        writes = named.writes or named.option == "--link-dest"
        directories.append(ProgramDirectory(await _nearest(session, place), writes))
        options += [named.option, posixpath.relpath(place, paths[0])]
    program = await asyncio.to_thread(find, "rsync")

    def build(run: ProgramRun) -> Wanted:
        added = []
        if not command.own_links:
            links = Permission.CREATE_SYMLINKS in run.granted
            added.append("--safe-links" if links else "--munge-links")
        chown = command.owners and Permission.CHOWN in run.granted
        if not command.sends:
            added.append("--chmod=ug-s")  # clients set neither set-user-id nor set-group-id bits
            if not chown:
                added.append("--no-super")
        words = [
            _word(path, run.point) + ("/" if word.endswith("/") and path != run.point else "")
            for word, path in zip(command.paths, paths, strict=True)
        ]
        sender = ["--sender"] if command.sends else []
        argv = ("rsync", "--server", *sender, *command.options, *options, *added, ".", *words)
        return Wanted(program, argv, {"HOME": "/nonexistent"}, chown=chown)

    use = ProgramUse.RSYNC_READ if command.sends else ProgramUse.RSYNC_WRITE
    return Prepared(use, _merged(directories), build)


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
    """Each directory once, with all that is wanted of it; the first stays the first."""
    found: dict[VPath, ProgramDirectory] = {}
    for one in directories:
        other = found.get(one.path)
        found[one.path] = (
            one
            if other is None
            else ProgramDirectory(one.path, one.writes or other.writes, one.needs | other.needs)
        )
    return list(found.values())


def _word(path: VPath, point: VPath) -> str:
    """A path as a word for a program whose working directory is `point`; never an option."""
    text = path.relative_to(point)
    if not text:
        return "."
    return f"./{text}" if text.startswith("-") else text
