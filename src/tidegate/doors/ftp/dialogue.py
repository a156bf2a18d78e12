# SPDX-License-Identifier: Apache-2.0
"""One FTP conversation: commands in order, each answered; transfers go on beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tidegate.doors.common.tls_stream import TlsFailed
from tidegate.doors.ftp import data_commands as d
from tidegate.doors.ftp import digest_commands as g
from tidegate.doors.ftp import listing_commands as l
from tidegate.doors.ftp import name_commands as n
from tidegate.doors.ftp import session_commands as s
from tidegate.doors.ftp import status
from tidegate.doors.ftp import way_commands as w
from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.wire import replies
from tidegate.doors.ftp.wire.commands import MAX_LINE, Command, TooLong
from tidegate.errors import TidegateError

log = logging.getLogger(__name__)

Run = Callable[[Conversation, str], Awaitable[Any]]

MAX_MISTAKES: Final = 100
"""Commands in a row that nobody understands; then the connection ends: it is no FTP client."""


@dataclass(frozen=True, slots=True)
class Row:
    """A command.

    Attributes:
        run: what it does.
        argument: True needs one, False takes none, None takes one or not.
        early: allowed before the login.
        during: answered while a transfer goes on; others wait for its end.
    """

    run: Run
    argument: bool | None = None
    early: bool = False
    during: bool = False


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
    "CWD": Row(n.cwd, argument=True),
    "XCWD": Row(n.cwd, argument=True),
    "CDUP": Row(n.cdup),
    "XCUP": Row(n.cdup),
    "MKD": Row(n.mkd, argument=True),
    "XMKD": Row(n.mkd, argument=True),
    "RMD": Row(n.rmd, argument=True),
    "XRMD": Row(n.rmd, argument=True),
    "DELE": Row(n.dele, argument=True),
    "RNFR": Row(n.rnfr, argument=True),
    "RNTO": Row(n.rnto, argument=True),
    "SIZE": Row(n.size, argument=True),
    "MDTM": Row(n.mdtm, argument=True),
    "MFMT": Row(n.mfmt, argument=True),
    "MFCT": Row(n.mfct, argument=True),
    "MFF": Row(n.mff, argument=True),
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
    "LIST": Row(l.list_),
    "NLST": Row(l.nlst),
    "MLSD": Row(l.mlsd),
    "MLST": Row(l.mlst),
    "STAT": Row(l.stat, during=True),
    "COMB": Row(d.comb, argument=True),
}
"""Every command there is; HELP lists them."""

_DIGESTS: Final = frozenset(("HASH", "MD5", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512"))
_KEEP_SOURCE: Final = frozenset(("RNTO", "NOOP"))


class FtpDialogue:
    """Carries out the commands of one connection.

    Args:
        conversation: its state.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._c = conversation
        self._mistakes = 0

    async def run(self, *, implicit: bool) -> None:
        """Greet, and obey until the connection ends. Then nothing of it is left, but its record.

        Args:
            implicit: TLS began with the first byte, before the greeting.
        """
        c = self._c
        try:
            if implicit:
                await s.secured(c)
            if not await c.door.login.admits("FTP", c.peer.remote_ip):
                c.ended_by = "post_connect_hook"
                await c.control.send(replies.sentences(500, ("Access denied",)))
                return
            await c.control.send(replies.sentences(220, c.options.banner))
            while not c.quitting:
                command = await c.control.next()
                if command is None:
                    break
                await self._one(command)
        except TlsFailed as error:
            log.info("%s: TLS: %s", c.peer.connection_id, error)
            c.error = f"TLS: {error}"
        finally:
            c.next.forget()
            await self._close()

    async def _close(self) -> None:
        c = self._c
        if c.transfer is not None and c.ended_by == "" and not c.control.ended:
            await asyncio.wait({c.transfer})
        await c.stop_transfer()
        c.control.close()
        if c.live is not None:
            c.door.registry.remove(c.live)
        if c.session is not None:
            await c.session.close()

    async def _one(self, command: Command | TooLong) -> None:
        c = self._c
        if isinstance(command, TooLong):
            await self._mistake(500, f"Lines have {MAX_LINE} bytes at most.")
            return
        row = COMMANDS.get(command.word)
        if command.word == "HELP":
            await self._help()
            return
        if row is None or not self._offered(command.word):
            await self._mistake(500, "There is no such command.")
            return
        self._mistakes = 0
        if c.transfer is not None and not row.during:
            await self._until_free()
            if c.quitting:
                return
        if c.source is not None and command.word not in _KEEP_SOURCE:
            c.source = None
        try:
            if not row.early and c.session is None:
                raise Rejected(530, "Log in with USER and PASS first.")
            if row.argument and not command.argument:
                raise Rejected(501, f"{command.word} needs an argument.")
            await row.run(c, command.argument)
        except Rejected as error:
            await c.reply(error.code, error.text)
        except (TlsFailed, asyncio.CancelledError):
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
        self._mistakes += 1
        if self._mistakes >= MAX_MISTAKES:
            self._c.end("protocol_error", text="too many commands that nobody understands")
            return
        await self._c.reply(code, text)
