# SPDX-License-Identifier: Apache-2.0
"""One FTP conversation: commands in order, each answered; transfers go on beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from tidegate.doors.common.admission import denial
from tidegate.doors.common.tls_stream import TlsFailed
from tidegate.doors.common.trace import UNKNOWN, trace, tracing
from tidegate.doors.common.turns import SLICE_SECONDS
from tidegate.doors.ftp import combining, status
from tidegate.doors.ftp import data_commands as d
from tidegate.doors.ftp import digest_commands as g
from tidegate.doors.ftp import listing_commands as l
from tidegate.doors.ftp import name_commands as n
from tidegate.doors.ftp import session_commands as s
from tidegate.doors.ftp import way_commands as w
from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.wire import replies
from tidegate.doors.ftp.wire.commands import MAX_LINE, Command, TooLong
from tidegate.errors import TidegateError
from tidegate.vfs import eager

log = logging.getLogger(__name__)

Run = Callable[[Conversation, str], Awaitable[Any]]

MAX_MISTAKES: Final = 100
"""Commands in a row that nobody understands; then the connection ends: it is no FTP client."""


SLOW_SECONDS: Final = 1.0
"""After so long a command that storage holds up counts as going on beside others, as a transfer does."""

LOOK_SECONDS: Final = 60.0
"""Seconds that storage may take to tell about a name or a directory."""

ACT_SECONDS: Final = 3600.0
"""Seconds that it may take to change something: a rename in a bucket copies."""


@dataclass(frozen=True, slots=True)
class Row:
    """A command.

    Attributes:
        run: what it does.
        argument: True needs one, False takes none, None takes one or not.
        early: allowed before the login.
        during: answered while a transfer goes on; others wait for its end.
        seconds: most that it may take, if it asks storage; 0 if it does not, or has bounds of its own.
    """

    run: Run
    argument: bool | None = None
    early: bool = False
    during: bool = False
    seconds: float = 0.0


COMMANDS: Final[dict[str, Row]] = {
    "USER": Row(s.user, argument=True, early=True),
    "PASS": Row(s.password, early=True),
    "ACCT": Row(s.acct, early=True),
    "QUIT": Row(s.quit_, early=True, during=True),
    "REIN": Row(s.rein, early=True),
    "NOOP": Row(s.noop, early=True, during=True),
    "SYST": Row(s.syst, early=True, during=True),
    "FEAT": Row(s.feat, early=True, during=True),
    "OPTS": Row(s.opts, argument=True, early=True),
    "CLNT": Row(s.clnt, argument=True, early=True),
    "HOST": Row(s.host, argument=True, early=True),
    "LANG": Row(s.lang, early=True),
    "AUTH": Row(s.auth, argument=True, early=True),
    "PBSZ": Row(s.pbsz, argument=True, early=True),
    "PROT": Row(s.prot, argument=True, early=True),
    "CCC": Row(s.ccc, early=True),
    "PWD": Row(n.pwd, during=True),
    "XPWD": Row(n.pwd, during=True),
    "CWD": Row(n.cwd, argument=True, seconds=LOOK_SECONDS),
    "XCWD": Row(n.cwd, argument=True, seconds=LOOK_SECONDS),
    "CDUP": Row(n.cdup, seconds=LOOK_SECONDS),
    "XCUP": Row(n.cdup, seconds=LOOK_SECONDS),
    "MKD": Row(n.mkd, argument=True, seconds=ACT_SECONDS),
    "XMKD": Row(n.mkd, argument=True, seconds=ACT_SECONDS),
    "RMD": Row(n.rmd, argument=True, seconds=ACT_SECONDS),
    "XRMD": Row(n.rmd, argument=True, seconds=ACT_SECONDS),
    "DELE": Row(n.dele, argument=True, seconds=ACT_SECONDS),
    "RNFR": Row(n.rnfr, argument=True, seconds=LOOK_SECONDS),
    "RNTO": Row(n.rnto, argument=True, seconds=ACT_SECONDS),
    "SIZE": Row(n.size, argument=True, seconds=LOOK_SECONDS),
    "MDTM": Row(n.mdtm, argument=True, seconds=LOOK_SECONDS),
    "MFMT": Row(n.mfmt, argument=True, seconds=ACT_SECONDS),
    "MFCT": Row(n.mfct, argument=True),
    "MFF": Row(n.mff, argument=True, seconds=ACT_SECONDS),
    "AVBL": Row(n.avbl),
    "ALLO": Row(n.allo, argument=True),
    "HASH": Row(g.hash_, argument=True),
    "MD5": Row(g.md5, argument=True),
    "XCRC": Row(g.xdigest("crc32"), argument=True),
    "XMD5": Row(g.xdigest("md5"), argument=True),
    "XSHA": Row(g.xdigest("sha1"), argument=True),
    "XSHA1": Row(g.xdigest("sha1"), argument=True),
    "XSHA256": Row(g.xdigest("sha256"), argument=True),
    "XSHA512": Row(g.xdigest("sha512"), argument=True),
    "SITE": Row(n.site, argument=True),
    "TYPE": Row(w.type_, argument=True),
    "MODE": Row(w.mode, argument=True),
    "STRU": Row(w.stru, argument=True),
    "REST": Row(w.rest, argument=True),
    "RANG": Row(w.rang, argument=True),
    "PASV": Row(w.pasv),
    "EPSV": Row(w.epsv),
    "PORT": Row(w.port, argument=True),
    "EPRT": Row(w.eprt, argument=True),
    "RETR": Row(d.retr, argument=True),
    "STOR": Row(d.stor, argument=True),
    "APPE": Row(d.appe, argument=True),
    "STOU": Row(d.stou),
    "ABOR": Row(d.abor, during=True),
    "LIST": Row(l.list_, seconds=LOOK_SECONDS),
    "NLST": Row(l.nlst, seconds=LOOK_SECONDS),
    "MLSD": Row(l.mlsd, seconds=LOOK_SECONDS),
    "MLST": Row(l.mlst, seconds=LOOK_SECONDS),
    "STAT": Row(l.stat, during=True, seconds=LOOK_SECONDS),
    "COMB": Row(combining.comb, argument=True),
}
"""Every command there is; HELP lists them."""

_DIGESTS: Final = frozenset(("HASH", "MD5", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512"))
_OPTIONAL: Final = _DIGESTS | {"COMB", "CCC"}
"""Commands that are not there with every configuration."""
_SECRET: Final = frozenset(("USER", "PASS", "ACCT", "SITE"))
"""Commands whose arguments are in no trace: passwords, also mistyped ones."""
_KEEP_SOURCE: Final = frozenset(("RNTO", "NOOP"))


@dataclass(slots=True)
class _Bound:
    """The time of a command that storage holds up.

    Attributes:
        beside: other commands are answered meanwhile.
        passed: its time is over.
    """

    beside: bool = False
    passed: bool = False

    def over(self, task: asyncio.Task[None]) -> None:
        """Its time is over."""
        self.passed = True
        task.cancel()


class FtpDialogue:
    """Carries out the commands of one connection. Holds nothing itself: an idle connection has none.

    Args:
        conversation: its state.
    """

    __slots__ = ("_c",)

    def __init__(self, conversation: Conversation) -> None:
        self._c = conversation

    async def begin(self, *, implicit: bool) -> bool:
        """Greet, and obey until the client is idle; see `obey`.

        Args:
            implicit: TLS began with the first byte, before the greeting.
        """
        c = self._c
        greeted = False
        try:
            if implicit:
                await s.secured(c)
            refusal = await c.door.admit(c.visit)
            if refusal is not None:
                c.ended_by = refusal.rule
                c.door.report(c.peer.remote_ip, refusal)
                await c.control.send(replies.sentences(500, (denial(refusal),)))
                return False
            if not await c.door.login.admits("FTP", c.peer.remote_ip):
                c.ended_by = "post_connect_hook"
                await c.control.send(replies.sentences(500, ("Access denied",)))
                return False
            await c.control.send(replies.sentences(220, c.options.banner))
            greeted = True
        except TlsFailed as error:
            self._tls_failed(error)
        finally:
            if not greeted:
                await self._close()
        return greeted and await self.obey()

    async def obey(self) -> bool:
        """Carry out the commands that wait. True if the client is idle then.

        Otherwise the connection ends, and nothing of it is left, but its record. Commands are carried out in
        slices: a client that sends many of them shares turns with the others.
        """
        c, idle = self._c, False
        control, turns = c.control, c.control.turns
        try:
            if not turns.may_work:
                await turns.another()
            began, took = monotonic(), 0.0
            while control.waiting and not c.quitting:
                await self._one(control.take())
                took = monotonic() - began
                if took >= SLICE_SECONDS:
                    turns.charge(SLICE_SECONDS)  # more if it waited meanwhile, which is no work
                    await turns.another()
                    began, took = monotonic(), 0.0
            turns.charge(min(took, SLICE_SECONDS))
            idle = not (c.quitting or control.over)
        except TlsFailed as error:
            self._tls_failed(error)
        finally:
            if not idle:
                await self._close()
        return idle

    def _tls_failed(self, error: TlsFailed) -> None:
        c = self._c
        log.info("%s: TLS: %s", c.peer.connection_id, error)
        c.error = f"TLS: {error}"

    async def _close(self) -> None:
        c = self._c
        c.next.forget()
        if c.transfer is not None and c.ended_by == "" and not c.control.ended:
            await asyncio.wait({c.transfer})
        await c.stop_transfer()
        c.control.close()
        if c.live is not None:
            c.door.registry.remove(c.live)
        if c.session is not None:
            await c.session.close()

    def _trace(self, command: Command) -> None:
        """Have a line written when the command has its last reply."""
        c, began = self._c, monotonic()
        argument = command.argument if command.word in COMMANDS else ""
        if command.word in _SECRET:
            argument = argument.partition(" ")[0] if command.word == "SITE" else ""

        def told(reply: bytes) -> None:
            if reply[:1] == b"1":  # another one follows
                return
            c.control.on_reply = None
            username = c.login.username if c.session is None else c.session.principal.username
            code, seconds = reply[:3].decode("ascii", "replace"), monotonic() - began
            trace(c.peer, username, command.word, path=argument or UNKNOWN, code=code, seconds=seconds)

        c.control.on_reply = told

    async def _one(self, command: Command | TooLong) -> None:
        c = self._c
        if isinstance(command, TooLong):
            await self._mistake(500, f"Lines have {MAX_LINE} bytes at most.")
            return
        if tracing():
            self._trace(command)
        row = COMMANDS.get(command.word)
        if command.word == "HELP":
            await self._help()
            return
        if row is None or (command.word in _OPTIONAL and not self._offered(command.word)):
            await self._mistake(500, "There is no such command.")
            return
        c.mistakes = 0
        if c.transfer is not None and not row.during:
            await self._until_free()
            if c.quitting:
                return
        if c.source is not None and command.word not in _KEEP_SOURCE:
            c.source = None
        if row.seconds and c.session is not None:
            await self._patiently(row, command)
        else:
            await self._obey(row, command)

    async def _patiently(self, row: Row, command: Command) -> None:
        """Carry out what storage may hold up: NOOP, STAT, ABOR and QUIT are answered meanwhile.

        A client that goes away ends it, as it ends a transfer; the server's end waits for it as for one.
        """
        c = self._c
        loop = asyncio.get_running_loop()
        bound = _Bound()
        # Most of them need no waiting on a local disk: those make no task.
        task, _ = eager.start(self._obey(row, command, bound), loop)
        if task is None:
            return
        timer = loop.call_later(row.seconds, bound.over, task)
        task.add_done_callback(lambda _: timer.cancel())
        try:
            # Beside a transfer there is no room for a second one: STAT is waited for.
            await asyncio.wait({task}, timeout=SLOW_SECONDS if c.transfer is None else None)
        except BaseException:
            task.cancel()
            raise
        if task.done():
            if not task.cancelled():
                task.result()
            return
        bound.beside = True
        c.transfer = task
        task.add_done_callback(c.transfer_over)

    async def _obey(self, row: Row, command: Command, bound: _Bound | None = None) -> None:
        c = self._c
        try:
            if not row.early and c.session is None:
                raise Rejected(530, "Log in with USER and PASS first.")
            if row.argument and not command.argument:
                raise Rejected(501, f"{command.word} needs an argument.")
            if c.session is not None:
                c.exchange = status.exchange(command.word, command.argument)
                c.session.answers(c.exchange)
            await row.run(c, command.argument)
        except Rejected as error:
            await c.reply(error.code, error.text)
        except asyncio.CancelledError:
            if bound is not None and bound.passed:
                text = f"{command.word} took longer than {row.seconds:g} s."
                c.control.send_nowait(replies.reply(450, text))
            elif bound is not None and bound.beside and not c.quitting:
                c.control.send_nowait(replies.reply(426, f"{command.word} was ended."))
            raise
        except TlsFailed:
            raise
        except TidegateError as error:
            await c.control.send(status.reply(error))
        except Exception:
            log.exception("%s: %s failed", c.peer.connection_id, command.word)
            await c.control.send(status.internal())
        finally:
            c.settle_handles()

    async def _until_free(self) -> None:
        """Wait for the end of the transfer; a client that goes away meanwhile ends it."""
        c = self._c
        transfer = c.transfer
        assert transfer is not None
        gone = asyncio.ensure_future(c.control.gone())
        try:
            await asyncio.wait({transfer, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not transfer.done():
            await c.stop_transfer()
            c.quitting = True

    def _offered(self, word: str) -> bool:
        options, binding = self._c.options, self._c.binding
        if word in _DIGESTS:
            return options.hashes
        if word == "COMB":
            return options.combine
        return word != "CCC" or binding.clear_command

    async def _help(self) -> None:
        words = sorted(word for word in COMMANDS if self._offered(word))
        lines = [" ".join(words[at : at + 8]) for at in range(0, len(words), 8)]
        await self._c.control.send(replies.multiline(214, "Commands:", lines, "End"))

    async def _mistake(self, code: int, text: str) -> None:
        c = self._c
        c.mistakes += 1
        if c.mistakes >= MAX_MISTAKES:
            c.end("protocol_error", text="too many commands that nobody understands")
            return
        await c.reply(code, text)
