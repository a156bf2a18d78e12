# SPDX-License-Identifier: Apache-2.0
"""Commands on the connection itself: login, TLS, features."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Final

from tidegate.abc import Credential
from tidegate.cluster.registry import LiveConnection
from tidegate.doors.common.client_certificates import Certified, login_by_certificate
from tidegate.doors.common.owners import AccountNames
from tidegate.doors.common.record import authenticate, shown_version
from tidegate.doors.common.tls_stream import TlsFailed
from tidegate.doors.ftp.control import Injected
from tidegate.doors.ftp.conversation import Conversation, Login, Rejected
from tidegate.doors.ftp.options import TlsMode
from tidegate.doors.ftp.wire import listings, replies
from tidegate.errors import LoginRefused, TidegateError
from tidegate.identity.api import PartialLogin
from tidegate.model import Principal, Protocol

log = logging.getLogger(__name__)

FAILED_SECONDS: Final = 1.0
"""A refused password is answered after so long at the earliest: guessing takes time."""


async def user(c: Conversation, argument: str) -> None:
    """USER: a name; whoever was logged in is no longer."""
    if c.binding.tls is not None and not c.encrypted:
        if c.binding.tls_mode is TlsMode.REQUIRED or not c.binding.plain_login:
            raise Rejected(530, "This server wants TLS before a login: AUTH TLS.")
    elif not c.encrypted and not c.binding.plain_login:
        raise Rejected(530, "This server takes no logins in the clear.")
    if c.session is not None:
        raise Rejected(530, "Somebody is logged in; connect anew to log in as another user.")
    certificate, certified = _certificate(c), c.login.certified
    if certificate is not None:
        # Each of them may start a program of the operator's; PASS counts its own.
        if certified:
            await asyncio.sleep(FAILED_SECONDS)
        if certified >= c.options.login_tries:
            c.quitting = True
            raise Rejected(530, "Too many users for one certificate.")
        certified += 1
    c.login = Login(username=argument, tries=c.login.tries, certified=certified)
    c.record.named(argument)
    c.door.proves(c.visit)
    outcome = await login_by_certificate(
        c.door.login, c.record, c.peer, argument, certificate, client_version=c.client
    )
    if isinstance(outcome, Principal):
        await _enter(c, outcome, 232)  # RFC 4217 section 4.2: the TLS session has said who it is
        return
    if isinstance(outcome, PartialLogin):
        c.login.partial = outcome
    c.login.refused = outcome is Certified.REFUSED
    await c.reply(331, "Password, please.")


def _certificate(c: Conversation) -> bytes | None:
    """The client's certificate, if the binding asks for any."""
    if c.binding.tls is None or c.binding.tls.clients is None or c.control.tls is None:
        return None
    return c.control.tls.peer_certificate


async def password(c: Conversation, argument: str) -> None:
    """PASS: judged, and the session opened."""
    if c.session is not None and c.login.username:
        await c.reply(202, "The certificate has logged you in; no password is needed.")
        return
    if c.session is not None:
        raise Rejected(503, "Somebody is logged in.")
    if not c.login.username:
        raise Rejected(503, "Send USER first.")
    username, after = c.login.username, c.login.partial
    begun = asyncio.get_running_loop().time()
    kind = "password"
    if after is not None and "password" not in after.remaining:
        kind = "keyboard-interactive"
    credential = Credential(kind, secret=argument, answers=(argument,) if after is not None else ())
    outcome = None
    if not c.login.refused:
        outcome = await authenticate(
            c.door.login, c.record, c.peer, username, credential, after=after, client_version=c.client
        )
    if isinstance(outcome, PartialLogin):
        c.login.partial = outcome
        asked = outcome.challenge.prompts[0].text if outcome.challenge and outcome.challenge.prompts else ""
        # 332 would have clients send ACCT, which nobody judges.
        await c.reply(331, asked.rstrip(": ") or "Another secret is needed: PASS again.")
        return
    if outcome is None:
        c.login = Login(tries=c.login.tries + 1, certified=c.login.certified)
        left = begun + FAILED_SECONDS - asyncio.get_running_loop().time()
        await asyncio.sleep(max(left, 0))
        if c.login.tries >= c.options.login_tries:
            c.quitting = True
        await c.reply(530, "Login incorrect.")
        return
    c.login = Login(tries=c.login.tries)
    await _enter(c, outcome, 230)


async def _enter(c: Conversation, outcome: Principal, code: int) -> None:
    """Open the session of who has logged in, and say so by this reply."""
    username = outcome.username
    try:
        await open_session(c, outcome)
    except LoginRefused as refusal:
        c.record.login_failed(outcome.method, refusal.reason, refusal.rule)
        c.quitting = True
        await c.reply(421, f"Too many sessions ({refusal.rule or 'limit'}).")
        return
    except TidegateError as error:
        log.error("%s: no session for %r: %s", c.peer.connection_id, username, error)
        c.record.login_failed(outcome.method, "no_session")
        c.quitting = True
        await c.reply(421, f"No session can be opened now: {type(error).default_text}.")
        return
    c.forget_login()
    c.record.cipher = c.control.tls.cipher if c.control.tls is not None else ""
    c.record.login_accepted(outcome, c.client)
    c.door.logged_in(c.visit)
    await c.reply(code, "Logged in.")


async def open_session(c: Conversation, principal: Principal) -> None:
    """Open the files of who has logged in, and count them among the account's sessions."""
    cipher = c.control.tls.cipher if c.control.tls is not None else ""
    live = LiveConnection(c.peer, principal.username, c.end, activity=c.activity, cipher=cipher)
    await c.door.registry.enter(live, max_sessions=principal.account.max_sessions)
    try:
        session = await c.door.sessions.open(principal, c.peer)
    except BaseException:
        c.door.registry.remove(live)
        raise
    live.transfers = session.transfers
    c.live, c.session = live, session
    c.control.newcomers = None
    c.handles = c.door.ledger.handles_of(principal.username)
    c.directory = session.start_directory
    c.names = AccountNames(principal)


async def quit_(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """QUIT: after the transfer that is going on."""
    if c.transfer is not None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({c.transfer})
    c.quitting = True
    await c.reply(221, "Goodbye.")


async def rein(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """REIN: not obeyed, as by every server of today; a new connection does the same."""
    raise Rejected(502, "Connect anew instead.")


async def noop(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """NOOP."""
    await c.reply(200, "Fine.")


async def syst(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """SYST: the words that clients choose their parser of listings by."""
    await c.reply(215, "UNIX Type: L8")


async def clnt(c: Conversation, argument: str) -> None:
    """CLNT: name and version of the client, for the log."""
    c.client = shown_version(argument)
    await c.reply(200, "Noted.")


async def host(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """HOST (RFC 7151): there is one, whatever its name."""
    if c.session is not None:
        raise Rejected(503, "HOST comes before the login.")
    await c.reply(220, "This is the only host here.")


async def lang(c: Conversation, argument: str) -> None:
    """LANG (RFC 2640): English."""
    if argument.strip() and not argument.strip().lower().startswith("en"):
        raise Rejected(504, "Replies are in English.")
    await c.reply(200, "Replies are in English.")


async def acct(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """ACCT: not needed."""
    await c.reply(202, "No account information is needed.")


# -- TLS ---------------------------------------------------------------------------------------------------


async def auth(c: Conversation, argument: str) -> None:
    """AUTH (RFC 4217): TLS, and SSL for clients that call it so."""
    kind = argument.strip().upper()
    if kind not in ("TLS", "TLS-C", "SSL", "TLS-P"):
        raise Rejected(504, "AUTH TLS is what there is.")
    if c.context is None:
        raise Rejected(431, "This server has no certificate for TLS.")
    if c.encrypted:
        raise Rejected(503, "TLS is on already.")
    if c.session is not None:
        raise Rejected(503, "AUTH comes before the login.")
    c.tls_context = await c.context()
    c.login = Login(tries=c.login.tries)
    c.protects = kind in ("SSL", "TLS-P")
    try:
        c.control.begin_tls(c.tls_context, replies.reply(234, f"AUTH {kind}: begin now."))
    except Injected as what:
        log.warning("%s: plaintext injection: %s came behind AUTH", c.peer.connection_id, what)
        c.error = "plaintext behind AUTH"
        c.end("plaintext_injection", text="something came in the clear behind AUTH")
        return
    await secured(c)


async def secured(c: Conversation) -> None:
    """Wait for the handshake of the control connection."""
    try:
        async with asyncio.timeout(c.options.data_seconds):
            await c.control.handshake()
    except TimeoutError:
        raise TlsFailed("the handshake took too long") from None
    c.peer = replace(c.peer, protocol=Protocol.FTPS, encrypted=True)
    c.record.secured(c.peer)


async def pbsz(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """PBSZ: TLS has no buffers to agree on."""
    if not c.encrypted:
        raise Rejected(503, "PBSZ comes after AUTH TLS.")
    await c.reply(200, "PBSZ=0")


async def prot(c: Conversation, argument: str) -> None:
    """PROT: P or C; what the binding wants protected stays so."""
    level = argument.strip().upper()
    if not c.encrypted:
        raise Rejected(503, "PROT comes after AUTH TLS.")
    if level == "P":
        c.protects = True
    elif level == "C" and not c.wants_protected:
        c.protects = False
    elif level == "C":
        raise Rejected(534, "This server wants data connections protected: PROT P.")
    else:
        raise Rejected(536 if level in ("S", "E") else 504, "PROT P and PROT C are what there is.")
    c.next.forget_way()  # it was opened for what held before
    await c.reply(200, f"PROT {level}")


async def ccc(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """CCC: back to the clear, where the binding has it."""
    if not c.encrypted:
        raise Rejected(533, "The control connection is in the clear.")
    if not c.binding.clear_command or c.wants_protected:
        raise Rejected(534, "This server keeps the control connection protected.")
    c.record.encrypted = False
    c.control.clear_tls(replies.reply(200, "In the clear from here on."))


# -- features ----------------------------------------------------------------------------------------------


def features(c: Conversation) -> list[str]:
    """Lines of FEAT: what is there, and no more."""
    found = ["CLNT", "EPRT", "EPSV", "HOST", "LANG EN*", "MDTM", "MFF Modify;UNIX.mode;", "MFMT"]
    found += [listings.features_of_facts(c.facts), "RANG STREAM", "REST STREAM", "SIZE", "TVFS", "UTF8"]
    found += ["AVBL", "SITE QUOTA"]
    if c.options.site:
        found += ["SITE CHMOD", "SITE CPFR", "SITE CPTO", "SITE MKDIR", "SITE RMDIR", "SITE SYMLINK"]
        found += ["SITE UTIME"]
    if c.options.combine:
        found.append("COMB")
    if c.options.hashes:
        names = ("CRC32", "MD5", "SHA-1", "SHA-256", "SHA-512")
        found.append("HASH " + ";".join(f"{name}{'*' if name == c.hash_name else ''}" for name in names))
        found += ["MD5", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512"]
    if c.context is not None:
        found += ["AUTH TLS", "PBSZ", "PROT"]
        if c.binding.clear_command:
            found.append("CCC")
    return sorted(found)


async def feat(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """FEAT (RFC 2389)."""
    await c.control.send(replies.multiline(211, "Features:", features(c), "End"))


async def opts(c: Conversation, argument: str) -> None:
    """OPTS (RFC 2389): UTF8, MLST, HASH."""
    name, _, rest = argument.strip().partition(" ")
    name = name.upper()
    if name in ("UTF8", "UTF-8"):
        if rest.strip().upper() not in ("", "ON"):
            raise Rejected(504, "Names are UTF-8 here.")
        await c.reply(200, "UTF8 is on.")
    elif name == "MLST":
        c.facts = listings.chosen_facts(rest)
        chosen = "".join(f"{fact};" for fact in listings.FACTS if fact.lower() in c.facts)
        await c.reply(200, f"MLST OPTS {chosen}".rstrip())
    elif name == "HASH" and c.options.hashes:
        if rest.strip():
            wanted = rest.strip().upper()
            if wanted not in HASHES:
                raise Rejected(504, f"Not among {';'.join(HASHES)}.")
            c.hash_name = wanted
        await c.reply(200, c.hash_name)
    else:
        raise Rejected(501, "There are no such options.")


HASHES: Final = {"CRC32": "crc32", "MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
"""Names of HASH to those of `Session.checksum`."""
