# SPDX-License-Identifier: Apache-2.0
"""Logging in by SSH: attempts are counted, judged by the login service, and put on record.

Rules of this file: nobody is logged in but through `_check`; a public key reaches `_check` only after its
signature was verified; a principal is forgotten as soon as another attempt begins, so the login that asyncssh
completes is always the one that was judged last.

Long, because asyncssh calls one object during the whole of a login.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Final

import asyncssh

from tidegate.abc import Challenge, Credential
from tidegate.accounts.key_kinds import key_type
from tidegate.cluster.registry import Activity
from tidegate.doors.common.admission import Visit
from tidegate.doors.common.idle import IdleWatch, SilenceWatch
from tidegate.doors.common.reading import MEMORY
from tidegate.doors.common.record import ConnectionRecord, authenticate, shown_version
from tidegate.doors.ssh.connection import DoorConnection
from tidegate.doors.ssh.contracts import LoginDoor
from tidegate.doors.ssh.session import SshSession
from tidegate.errors import BadRecord, LoginRefused, TidegateError
from tidegate.identity.api import PartialLogin
from tidegate.model import Peer, Principal, Protocol
from tidegate.resources.deadline import Deadline

MAX_KEY_OFFERS: Final = 100
"""Key probes of one connection; agents hold a few keys, a search for known keys needs many."""

MAX_EARLY_EXCHANGES: Final = 2
"""Key exchanges before the login: the first, and one more for clients that renew keys at once."""

EARNED_BYTES: Final = 1024 * 1024
"""Bytes of transfers under way after which new keys cost nothing of the budget of key exchanges."""

log = logging.getLogger(__name__)


class SshLogin(asyncssh.SSHServer):
    """The owner of one connection."""

    def __init__(self, door: LoginDoor) -> None:
        self.door = door
        self.setup = door.setup
        self.options = door.setup.options
        self.principal: Principal | None = None
        self.sessions: set[SshSession] = set()
        self._quiet: tuple[int, int, int] | None = None
        self.peer = Peer("", Protocol.SSH, "")
        self.closed = asyncio.Event()
        self.visit: Visit | None = None
        self.deadline: Deadline | None = None
        self._silence: SilenceWatch | None = None
        self.idle: IdleWatch | None = None
        self._exchanges = door.ledger.exchanges_of_connection()
        self._early_exchanges = 0
        self._moved_at_exchange = 0
        self._conn: DoorConnection | None = None
        self._partial: PartialLogin | None = None
        self._partial_now = False
        self._pending = False
        self._proving = False
        self._asked = False
        self._attempts = 0
        self._turn = 0
        self._failures = 0
        self._offers = 0
        self._offers_refused = 0
        self._offer_refusal: LoginRefused | None = None
        self._last_method = ""
        self._question_open: int | None = None
        self._question_asked = False
        self._ended_by = ""
        self._next_channel = 0
        self.activity = Activity()

    # -- the connection's life ---------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """A client came in."""
        self._conn = conn  # type: ignore[assignment]
        assert self._conn is not None
        self._conn.door_owner = self
        self.visit = self._conn.door_visit
        if self.visit is not None:
            self.visit.end, self.visit.heard = self.abort, lambda: self.spoke
        self.peer = self.door.peer_of(conn, self.visit)
        self.door.entered(self)
        self.deadline = Deadline(self.options.login_seconds, self._too_late)
        self._silence = SilenceWatch(self.options.silent_seconds, self._heard, self._silent)
        self.record = ConnectionRecord(self.door.bus, self.peer, encrypted=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, for whatever reason."""
        self._stop_clocks()
        self._record_attempts()
        fault = exc is not None and not isinstance(exc, (OSError, asyncssh.Error))
        self.record.closed(
            by=self._ended_by or ("internal_error" if fault else ""),
            error="" if exc is None else str(exc),
            client_version=self._client_version(),
        )
        for session in self.sessions:  # channels that never came to their end
            self.door.ledger.channels.give(session.username)
        self.sessions.clear()
        self.door.left(self)
        if self._question_asked:
            self.door.spawn(self.door.login.left(self.peer), "end of questions")
        if self._conn is not None:
            self._conn.door_owner = None
            self._conn = None
        self.closed.set()

    def _record_attempts(self) -> None:
        """Put on record that a login was begun and did not end."""
        if self.record.logged_in or self.record.failures:
            return  # each refusal is on record already
        if self._attempts:
            self.record.login_failed(self._last_method, "incomplete")
        elif self._offers:
            # Agents offer keys one by one: refused offers count as a failed login only if nothing followed.
            refusal = self._offer_refusal
            if refusal is not None:
                self.record.login_failed("publickey", refusal.reason, refusal.rule)
            else:
                self.record.login_failed("publickey", "unknown_key" if self._offers_refused else "incomplete")

    def end(self, by: str, *, code: int = asyncssh.DISC_BY_APPLICATION, text: str = "") -> None:
        """End the connection; `by` is put on record."""
        if self._conn is not None:
            self._ended_by = self._ended_by or by
            self._conn.disconnect(code, text or f"disconnected: {by}")

    def abort(self, by: str) -> None:
        """End the connection without a word and without waiting."""
        if self._conn is not None:
            self._ended_by = self._ended_by or by
            self._conn.abort()

    # -- time to log in ----------------------------------------------------------------------------------

    @property
    def spoke(self) -> bool:
        """True once the client sent its version line."""
        return self._conn is not None and bool(self._conn.door_heard[0])

    def _too_late(self) -> None:
        self.end("login deadline", text="too late for the login")

    def _heard(self) -> object:
        return None if self._conn is None else self._conn.door_heard

    def _silent(self) -> None:
        self.end("silent", text="nothing was sent for too long")

    def _moved(self) -> bool:
        moved = [session.moved() for session in self.sessions]  # each of them must look
        return any(moved)

    def _idle(self) -> None:
        self.end("idle_timeout", text="idle timeout")

    def _stop_clocks(self) -> None:
        for clock in (self.deadline, self._silence, self.idle):
            if clock is not None:
                clock.cancel()

    # -- memory ------------------------------------------------------------------------------------------

    @property
    def buffered_bytes(self) -> int:
        """Bytes of input and output that wait; see `resources.buffers`.

        Asked four times a second of each connection, of which most do nothing.
        """
        connection = self._conn
        packets = None if connection is None else connection.door_packets
        if packets is not None and packets == self._quiet:
            return 0
        size = 0 if connection is None else connection.door_buffered
        answers_only = True
        for session in self.sessions:
            size += session.buffered_bytes
            answers_only = answers_only and session.answers_only
        # Nothing was held, and whatever holds anything from here on comes with a packet.
        self._quiet = None if size or not answers_only else packets
        return size

    def hold(self, stop: bool) -> None:
        """Read nothing more from the client, or go on."""
        reading = None if self._conn is None else self._conn.door_reading
        if reading is not None:
            (reading.stop if stop else reading.go)(MEMORY)

    # -- key exchanges -----------------------------------------------------------------------------------

    def exchange_begins(self) -> None:
        """The client asked for new keys, or answered that we did.

        Raises:
            asyncssh.DisconnectError: there were too many.
        """
        now = self.door.ledger.clock()
        rule = ""
        if not self.record.logged_in:
            self._early_exchanges += 1
            if self._early_exchanges > MAX_EARLY_EXCHANGES:
                rule = "key exchanges before login"
        else:
            moved = sum(session.moved_bytes for session in self.sessions)
            earned = abs(moved - self._moved_at_exchange) >= EARNED_BYTES
            if earned:
                self._moved_at_exchange = moved
                return
        source = self.door.ledger.key_exchanges
        if not rule and not self._exchanges.take(now):
            rule = "limits.key_exchanges_per_connection"
        host = self.visit.source if self.visit is not None else self.peer.remote_ip
        if not rule and not source.take(host, now):
            rule = source.rule
        if rule:
            log.warning("%s: %s exchanged keys too often: %s", self.peer.connection_id, host, rule)
            self._ended_by = self._ended_by or rule
            raise asyncssh.DisconnectError(asyncssh.DISC_BY_APPLICATION, "too many key exchanges")

    def debug_msg_received(self, msg: str, lang: str, always_display: bool) -> None:
        """Client debug messages have no use here."""

    # -- what may be tried -------------------------------------------------------------------------------

    def _may_try(self, method: str) -> bool:
        return self._partial is None or method in self._partial.remaining

    def begin_auth(self, username: str) -> bool:
        """A user name was given, or changed: what was proved before is void (RFC 4252 section 5)."""
        first = not self.record.username
        self.record.named(username)
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self.visit is not None:
            self.door.proves(self.visit)
        self._turn += 1
        self._partial = None
        self._partial_now = False
        self.principal = None
        if first and self.setup.banner and self._conn is not None:
            self._conn.send_auth_banner(self.setup.banner)
        return True  # never "no authentication needed", whoever asks

    def password_auth_supported(self) -> bool:
        """True if the password method is offered now."""
        return self.options.password_authentication and self._may_try("password")

    def public_key_auth_supported(self) -> bool:
        """True if the public key method is offered now."""
        return self._may_try("publickey")

    def kbdint_auth_supported(self) -> bool:
        """True if keyboard-interactive is offered now."""
        return self.options.keyboard_interactive_authentication and self._may_try("keyboard-interactive")

    # -- counting ----------------------------------------------------------------------------------------

    def begin_attempt(self, method: str) -> int:
        """An attempt begins; one that was abandoned for it counts as failed.

        Returns:
            the attempt's number: a verdict that comes when another attempt has begun is void.

        Raises:
            asyncssh.DisconnectError: there were too many.
        """
        self.principal = None
        self._attempts += 1
        self._last_method = method
        self._turn += 1
        abandoned, self._pending = self._pending, True
        if abandoned:
            self._count_failure()
        return self._turn

    def attempt_answered(self) -> bool:
        """A failure is about to be sent; whether it is a partial success.

        Raises:
            asyncssh.DisconnectError: there were too many.
        """
        partial, self._partial_now = self._partial_now, False
        self.principal = None
        self._pending = False
        self._question_open = None
        if partial:
            return True
        # The first request of method "none" only asks what is offered, so one failure of a connection that
        # has tried nothing yet is free.
        if self._attempts or self._offers or self._asked:
            self._count_failure()
        self._asked = True
        return False

    def _count_failure(self) -> None:
        self._failures += 1
        limit = self.options.auth_tries
        if limit and self._failures >= limit:
            self._ended_by = "max_auth_tries"
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many authentication failures"
            )

    # -- credentials -------------------------------------------------------------------------------------

    async def validate_password(self, username: str, password: str) -> bool:
        """The password method."""
        turn = self.begin_attempt("password")
        return await self._check(turn, username, Credential(kind="password", secret=password))

    async def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:  # noqa: ARG002
        """The questions to begin with; False refuses.

        Raises:
            asyncssh.DisconnectError: earlier questions were left without an answer too often.
        """
        if self._question_open is not None:
            self._count_failure()
        try:
            challenge = await self.door.login.challenge(self.peer, username, after=self._partial)
        except TidegateError as error:
            self.begin_attempt("keyboard-interactive")
            reason = error.reason if isinstance(error, LoginRefused) else "provider_unavailable"
            log.error("%s: no questions for %r: %s", self.peer.connection_id, username, error)
            self.record.login_failed("keyboard-interactive", reason)
            return False
        return self._ask(challenge)

    def _ask(self, challenge: Challenge) -> Any:
        self._question_open = len(challenge.prompts)
        self._question_asked = True
        prompts = [(prompt.text, prompt.echo) for prompt in challenge.prompts]
        return challenge.title, challenge.instructions, "", prompts

    async def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        """The answers to the questions; True, False, or more questions."""
        asked, self._question_open = self._question_open, None
        turn = self.begin_attempt("keyboard-interactive")
        if asked is None or len(responses) != asked:
            return False
        answers = tuple(responses)
        secret = answers[0] if len(answers) == 1 else ""
        credential = Credential("keyboard-interactive", secret=secret, answers=answers)
        if await self._check(turn, username, credential):
            return True
        partial = self._partial
        if turn != self._turn or not self._partial_now or partial is None or partial.challenge is None:
            return False
        if "keyboard-interactive" not in partial.remaining:
            return False
        # The method goes on by itself (RFC 4256 section 3.2): nothing has failed, nothing else need be tried.
        self._partial_now = self._pending = False
        return self._ask(partial.challenge)

    @contextlib.contextmanager
    def proving(self) -> Iterator[None]:
        """Within, asyncssh verifies a signature."""
        self._proving = True
        try:
            yield
        finally:
            self._proving = False

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Let asyncssh go on to verify the signature; says nothing about the login."""
        return self._proving

    def signature_allowed(self, algorithm: str) -> bool:
        """True if clients may sign with this algorithm."""
        return algorithm in self.setup.algorithms.public_key_algorithms

    async def key_offered(self, username: str, key_data: bytes) -> bool:
        """True if it makes sense to sign with this key."""
        self._offers += 1
        if self._offers > MAX_KEY_OFFERS:
            self._ended_by = "max_key_offers"
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many keys offered"
            )
        known = False
        if key_type(key_data) in self.setup.key_types:
            try:
                known = await self.door.login.key_is_known(self.peer, username, key_data)
            except LoginRefused as error:
                self._offer_refusal = error
            except TidegateError as error:
                log.error(
                    "%s: key of %r could not be looked up: %s", self.peer.connection_id, username, error
                )
            except Exception:
                log.exception("%s: looking up a key failed", self.peer.connection_id)
        if not known:
            self._offers_refused += 1
        return known

    def key_not_proved(self) -> None:
        """A signature was wrong, or made by an algorithm that is not allowed."""
        self.record.login_failed("publickey", "bad_signature")

    def certified_key(self, key_data: bytes) -> bytes:
        """The key that a certificate is made for, in wire form; empty if it cannot be read."""
        from tidegate.identity.certificates.wire import read_certificate

        try:
            return read_certificate(key_data).key
        except BadRecord:
            return b""

    async def key_proved(
        self, turn: int, username: str, key_data: bytes, *, touched: bool, verified: bool
    ) -> bool:
        """A key whose possession is proved."""
        credential = Credential("publickey", public_key=key_data, touched=touched, verified=verified)
        return await self._check(turn, username, credential)

    async def _check(self, turn: int, username: str, credential: Credential) -> bool:
        outcome = await authenticate(
            self.door.login,
            self.record,
            self.peer,
            username,
            credential,
            after=self._partial,
            client_version=self._client_version(),
        )
        if outcome is None or turn != self._turn:
            return False
        if isinstance(outcome, PartialLogin):
            self._partial = outcome
            self._partial_now = True
            return False
        self.principal = outcome
        return True

    def auth_completed(self) -> None:
        """The client was told that it is in.

        Raises:
            asyncssh.DisconnectError: nobody was judged; cannot happen, and must not.
        """
        if self.principal is None:
            log.critical("%s: login completed without a principal", self.peer.connection_id)
            raise asyncssh.DisconnectError(asyncssh.DISC_PROTOCOL_ERROR, "authentication failed")
        self._partial = None
        client = self._client_version()
        self.peer = Peer(
            self.peer.connection_id,
            Protocol.SSH,
            self.peer.remote_ip,
            self.peer.remote_port,
            self.peer.local_address,
            client,
        )
        self._stop_clocks()
        if self.visit is not None:
            self.door.logged_in(self.visit)
        self.record.cipher = self.cipher
        self.record.login_accepted(self.principal, client)
        if self.door.draining:
            self.end("shutdown")
            return
        self.idle = IdleWatch(self.options.idle_seconds, self.activity, self._moved, self._idle)

    # -- channels ----------------------------------------------------------------------------------------

    def session_requested(self) -> Any:
        """A session channel; what it is for comes later."""
        if self.principal is None or self._conn is None or self.door.draining:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not now")
        if len(self.sessions) >= self.options.max_channels:
            log.warning("%s: refused: max_channels (%d)", self.peer.connection_id, self.options.max_channels)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels")
        account = self.principal.username
        if self.door.ledger.channels.full(account):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels")
        self.door.ledger.channels.take(account)
        session = SshSession(self, self.principal, f"{self.peer.connection_id}_{self._next_channel}")
        self._next_channel += 1
        self.sessions.add(session)
        return self._conn.create_server_channel(), session

    def connection_requested(self, *_: Any) -> bool:
        """Direct TCP/IP channels are refused."""
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "no forwarding here")

    def unix_connection_requested(self, *_: Any) -> bool:
        """Direct socket channels are refused."""
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "no forwarding here")

    def transport_full(self, full: bool) -> None:
        """The socket stopped or went on taking bytes."""
        for session in list(self.sessions):
            session.transport_full(full)

    @property
    def busy(self) -> bool:
        """True if a transfer or a command is going on."""
        return any(session.busy for session in self.sessions)

    @property
    def cipher(self) -> str:
        """Names of the cipher and of the MAC that seal what is sent; an AEAD needs no MAC."""
        if self._conn is None:
            return ""
        cipher, mac = (str(self._conn.get_extra_info(f"send_{part}", "")) for part in ("cipher", "mac"))
        return cipher if mac in ("", cipher) else f"{cipher} {mac}"

    # -- for the record ----------------------------------------------------------------------------------

    def _client_version(self) -> str:
        return "" if self._conn is None else shown_version(self._conn.get_extra_info("client_version", ""))
