# SPDX-License-Identifier: Apache-2.0
"""asyncssh's server connection and channel, with the few methods of theirs that this door needs otherwise.

asyncssh has no public way to answer "partial success" and hands a public key to the application before the
signature is verified. Both are settled by overriding two methods that carry no underscore:
`send_userauth_failure` and `validate_public_key`. Most of the rest bounds memory. `self_check` proves at
start that the methods are there and are called as this file believes; the dependency is pinned to a minor
range besides.

Long, because every method of asyncssh that is overridden stands here, with the reason.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import asyncssh
from asyncssh.auth import get_supported_server_auth_methods
from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.constants import MSG_EXT_INFO, MSG_KEXINIT, MSG_USERAUTH_REQUEST
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String
from cryptography.exceptions import UnsupportedAlgorithm

from tidegate.accounts.key_kinds import is_certificate
from tidegate.accounts.names import typed_name
from tidegate.doors.common.admission import Visit
from tidegate.doors.common.reading import ORDER, OUTPUT, Intake, Reading
from tidegate.doors.common.turns import turns_of
from tidegate.doors.ssh.contracts import ConnectionOwner
from tidegate.doors.ssh.packets import SMALL_PACKET, TURN_PACKETS, PacketConnection, acknowledge
from tidegate.errors import OperatorError
from tidegate.resources.newcomers import Charged
from tidegate.vfs import eager

WRITE_HIGH: Final = 512 * 1024
"""Bytes in the transport's own buffer above which the connection takes nothing more in."""

WRITE_LOW: Final = 128 * 1024
"""Bytes in the transport's buffer at which it goes on."""

INPUT_PIECE: Final = 4 * 1024
"""Bytes handed to asyncssh at once: it takes packets of 16 bytes at 1 MB/s, and copies all that is left of a
piece for each."""

MAX_PACKETS_BEFORE_LOGIN: Final = 1000
"""Packets that a connection may send before it has logged in. 100 offers of keys, each asked for and signed,
and a few passwords stay below half of it."""

MAX_BYTES_BEFORE_LOGIN: Final = 2 * 1024**2
"""Bytes that a connection may send before it has logged in: 100 certificates of 8 KiB, twice."""

MAX_ALGORITHM: Final = 4 + 64
"""Bytes in front of a signature that hold the name of its algorithm (RFC 4251 section 6)."""
TOUCHED: Final = 0x01
VERIFIED: Final = 0x04
"""Flags in signatures of security keys (PROTOCOL.u2f of OpenSSH; CTAP2: user presence, user verification)."""

USERAUTH_SERVICE: Final = b"ssh-userauth"
CONNECTION_SERVICE: Final = b"ssh-connection"

MAX_VARIABLE_BYTES: Final = 64
"""Longest value of an environment variable that is taken."""

_EXPECTED: Final = {
    SSHServerConnection: {
        "send_userauth_failure": ("self", "partial_success"),
        "validate_public_key": ("self", "username", "key_data", "msg", "signature"),
        "_validate_client_certificate": ("self", "username", "key_data"),
        "get_key_option": ("self", "option", "default"),
        "validate_password": ("self", "username", "password"),
        "send_userauth_success": ("self",),
        "_finish_userauth": ("self", "begin_auth", "method", "packet"),
        "reload_config": ("self",),
        "create_server_channel": ("self", "encoding", "errors", "window", "max_pktsize"),
        "_update_recv_pktlen": ("self", "max_pktsize"),
        "_process_ext_info": ("self", "_pkttype", "_pktid", "packet"),
        "_process_kexinit": ("self", "_pkttype", "_pktid", "packet"),
        "_process_userauth_request": ("self", "_pkttype", "_pktid", "packet"),
        "create_task": ("self", "coro", "task_logger"),
        "connection_made": ("self", "transport"),
        "data_received": ("self", "data", "datatype"),
        "pause_writing": ("self",),
        "resume_writing": ("self",),
        "_recv_pkthdr": ("self",),
        "_recv_packet": ("self",),
        "_recv_version": ("self",),
        "_finish_recv_packet": ("self", "pkttype", "seq", "_task", "is_async"),
        "_cleanup": ("self", "exc"),
        "send_newkeys": ("self", "k", "h"),
        "_send": ("self", "data"),
        "_force_close": ("self", "exc"),
        "send_packet": ("self", "pkttype", "args", "handler"),
        "log_sent_packet": ("self", "pkttype", "pktid", "packet", "note"),
        "log_received_packet": ("self", "pkttype", "pktid", "packet", "note"),
    },
    asyncssh.SSHServerChannel: {
        "exit": ("self", "status"),
        "process_open": ("self", "send_chan", "send_window", "send_pktsize", "session"),
        "_finish_open_request": ("self", "result"),
        "_accept_data": ("self", "data", "datatype"),
        "_flush_send_buf": ("self",),
        "_process_exec_request": ("self", "packet"),
        "_start_session": ("self", "command", "subsystem"),
        "_process_env_request": ("self", "packet"),
        "_process_x11_req_request": ("self", "packet"),
        "_process_auth_agent_req_at_openssh_dot_com_request": ("self", "packet"),
    },
}


_EXPECTED_STATE: Final = (
    "_next_service",
    "_loop",
    "_auth",
    "_auth_complete",
    "_auth_final",
    "_username",
    "_recv_handler",
    "_recv_seq",
    "_client_version",
)

_ITS_HANDLERS: Final[dict[int, Any]] = dict(getattr(SSHServerConnection, "_packet_handlers", {}))


def self_check() -> None:
    """Prove that the installed asyncssh is the one that this file was written for.

    Raises:
        OperatorError: it is not; the door must not open, for logins would not be judged as intended.
    """
    for kind, methods in _EXPECTED.items():
        for name, parameters in methods.items():
            method = getattr(kind, name, None)
            if method is None or tuple(inspect.signature(method).parameters) != parameters:
                raise OperatorError(
                    f"asyncssh {asyncssh.__version__} is not supported: {kind.__name__}.{name} differs"
                )
    state = SSHConnection.__init__.__code__.co_names
    for name in _EXPECTED_STATE:
        if name not in state:
            raise OperatorError(f"asyncssh {asyncssh.__version__} is not supported: it has no {name}")
    offered = inspect.signature(get_supported_server_auth_methods).parameters
    calls = SSHServerConnection.send_userauth_failure.__code__.co_names
    if _ITS_HANDLERS.get(MSG_KEXINIT) is not getattr(SSHConnection, "_process_kexinit", None):
        raise OperatorError(
            f"asyncssh {asyncssh.__version__} is not supported: it exchanges keys in another way"
        )
    if tuple(offered) != ("conn",) or "get_supported_server_auth_methods" not in calls:
        raise OperatorError(
            f"asyncssh {asyncssh.__version__} is not supported: it offers methods in another way"
        )


class DoorConnection(PacketConnection):
    """One SSH connection. Its owner judges credentials and holds the sessions."""

    door_owner: ConnectionOwner | None = None
    door_transport: asyncio.Transport | None = None
    door_reading: Reading | None = None
    door_intake: Intake | None = None
    door_visit: Visit | None = None
    _typed_password: str | None = None
    _packets_before_login = 0
    _bytes_before_login = 0

    @classmethod
    def of(
        cls, loop: asyncio.AbstractEventLoop, options: asyncssh.SSHServerConnectionOptions, visit: Visit
    ) -> DoorConnection:
        """A connection for a client that was let in."""
        connection = cls(loop, options)
        connection.door_visit = visit
        return connection

    @property
    def door_heard(self) -> tuple[bytes, int]:
        """Differs from an earlier value if the client has sent a version line or a packet since."""
        return self._client_version, self._recv_seq

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the conversation, with a bound on what may wait to be sent."""
        newcomers = None if self.door_visit is None else self.door_visit.newcomers
        if newcomers is None:
            self._begin_conversation(transport)
            return
        newcomers.begin()
        try:
            self._begin_conversation(transport)
        finally:
            newcomers.end()
        if self.door_reading is not None:
            self.door_reading.later = newcomers.later

    def _begin_conversation(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        stream.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.door_transport = stream
        turns = turns_of(self._loop)
        self.door_reading = Reading(stream, turns)
        self.door_intake = Intake(self.door_reading, turns, INPUT_PIECE, self._take)
        super().connection_made(transport)

    # -- input -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: Any = None) -> None:  # noqa: ARG002  asyncssh's signature
        """Take input in small pieces, a slice of a turn at a time."""
        intake = self.door_intake
        if intake is not None and not intake.put(data, waits=not self._auth_complete and self._waits()):
            self._too_much("more input than can wait")

    def _waits(self) -> bool:
        """True if strangers have had their share of the loop."""
        visit = self.door_visit
        return visit is not None and visit.newcomers is not None and not visit.newcomers.may_work

    def create_task(self, coro: Any, task_logger: Any = None) -> asyncio.Task[None]:
        """Before the login, asyncssh's tasks are work for a stranger too: key exchanges and credentials."""
        newcomers = None if self._auth_complete or self.door_visit is None else self.door_visit.newcomers
        if newcomers is not None and asyncio.iscoroutine(coro):
            coro = Charged(coro, newcomers, self._is_stranger)
        return super().create_task(coro, task_logger)

    def _is_stranger(self) -> bool:
        return not self._auth_complete

    async def send_userauth_success(self) -> None:
        """Somebody logged in: from here on they have their turns as everybody else."""
        await super().send_userauth_success()
        if self.door_reading is not None and self._auth_complete:
            self.door_reading.later = turns_of(self._loop).later

    def _take(self, data: bytes) -> None:
        newcomers = None
        if not self._auth_complete:
            self._corked = []  # what is answered before the login is bounded; a download is not
            newcomers = None if self.door_visit is None else self.door_visit.newcomers
        if newcomers is None:
            self._take_piece(data)
            return
        newcomers.begin()
        try:
            self._take_piece(data)
        finally:
            newcomers.end()

    def _take_piece(self, data: bytes) -> None:
        try:
            super().data_received(data)
        finally:
            answered = self.uncork()
        if self._transport is None:
            self._stop_intake()
            return
        if not self._auth_complete:
            if not answered and self.door_transport is not None:
                acknowledge(self.door_transport)
            self._bytes_before_login += len(data)
            if (
                self._packets_before_login > MAX_PACKETS_BEFORE_LOGIN
                or self._bytes_before_login > MAX_BYTES_BEFORE_LOGIN
            ):
                self._too_much("too many packets before login")
                return
        if self.door_reading is not None and not self._recv_ready():
            # A task of asyncssh's processes a packet; it would keep all that comes meanwhile, without end.
            self.door_reading.hold(ORDER)

    def _too_much(self, why: str) -> None:
        self._stop_intake()
        if self.door_owner is not None:
            self.door_owner.end("flood", code=asyncssh.DISC_PROTOCOL_ERROR, text=why)
        self.abort()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: asyncio.Task[None] | None = None, is_async: bool = False
    ) -> None:
        if not self._auth_complete:
            self._packets_before_login += 1
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        reading = self.door_reading
        if is_async and reading is not None and reading.reasons & ORDER and self._recv_ready():
            reading.go(ORDER)

    def _recv_ready(self) -> bool:
        return self._recv_handler in (self._recv_pkthdr, self._recv_packet, self._recv_version)

    def _cleanup(self, exc: Exception | None) -> None:
        self._stop_intake()
        newcomers = None if self._auth_complete or self.door_visit is None else self.door_visit.newcomers
        if newcomers is not None:
            newcomers.begin()
        try:
            super()._cleanup(exc)
        finally:
            if newcomers is not None:
                newcomers.end()

    def _stop_intake(self) -> None:
        if self.door_intake is not None:
            self.door_intake.close()

    @property
    def door_packets(self) -> tuple[int, int, int]:
        """Numbers of the next packet in and the next one out, and bytes of input that are put off.

        The same as before if nothing has come or gone between.
        """
        return self._recv_seq, self._send_seq, self._door_input

    @property
    def door_buffered(self) -> int:
        """Bytes of input and output that the connection itself holds."""
        transport = self.door_transport
        waiting = 0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()
        return waiting + self._door_input

    @property
    def _door_input(self) -> int:
        """Bytes of input that wait: put off, or of a packet whose end has not come."""
        intake, lane = self.door_intake, getattr(self, "_tidegate_lane", None)
        held = len(self._inpbuf) + (0 if intake is None else intake.held)
        return held if lane is None else held + lane.held

    # -- output ------------------------------------------------------------------------------------------

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Send NEWKEYS and what follows it in one write.

        A client that finds no EXT_INFO (RFC 8308) behind NEWKEYS may go on without: libssh then signs by an
        RSA key as if SHA-1 were all there is.
        """
        mine = self.cork()
        try:
            super().send_newkeys(k, h)
        finally:
            if mine:
                self.uncork()

    # -- key exchanges -----------------------------------------------------------------------------------

    def _count_kexinit(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        if self.door_owner is not None:
            self.door_owner.exchange_begins()
        return self._at_once(self._process_kexinit(pkttype, pktid, packet))

    def _at_once(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Process a packet here and now if that need not wait; asyncssh makes a task of everything."""
        return eager.start(work, self._loop)[0]

    def _skip_late_extensions(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """Take EXT_INFO, but skip one that comes after the login.

        RFC 8308 section 2.4 has no room for it there, but asyncssh 2.5 sends it. Its words are not used.
        """
        if not self._auth_complete:
            self._process_ext_info(pkttype, pktid, packet)

    # -- logging in --------------------------------------------------------------------------------------

    def _request_login(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:  # noqa: ARG002  asyncssh's signature
        # As asyncssh's own but for the name: that one applies SASLprep and ends the connection at characters
        # younger than Unicode 3.2, such as emoji, and at bytes that are not UTF-8.
        username = typed_name(packet.get_string())
        service, method = packet.get_string(), packet.get_string()
        if service != CONNECTION_SERVICE:
            raise asyncssh.ServiceNotAvailable("Unexpected service in auth request")
        if self._auth_complete:
            if self._auth_final:
                raise asyncssh.ProtocolError("Unexpected userauth request")
            return None
        if self._auth:
            auth, self._auth = self._auth, None
            auth.cancel()
        begins = username != self._username
        self._username = username
        self._key_options = {}
        self._cert_options = None
        return self._at_once(self._finish_userauth(begins, method, packet))

    _packet_handlers = {  # noqa: RUF012  as asyncssh
        **_ITS_HANDLERS,
        MSG_EXT_INFO: _skip_late_extensions,
        MSG_KEXINIT: _count_kexinit,
        MSG_USERAUTH_REQUEST: _request_login,
    }

    async def reload_config(self) -> None:
        """Do nothing: there is no OpenSSH configuration file that could depend on the user name."""

    async def _finish_userauth(self, begin_auth: bool, method: bytes, packet: SSHPacket) -> None:
        # asyncssh normalises passwords (SASLprep) and ends the connection at characters younger than
        # Unicode 3.2, such as emoji. Other doors and the stored hashes know passwords as they were typed.
        self._typed_password = None
        if method == b"password":
            packet = self._keep_password(packet)
        await super()._finish_userauth(begin_auth, method, packet)

    def _keep_password(self, packet: SSHPacket) -> SSHPacket:
        request = SSHPacket(packet.get_remaining_payload())
        if request.get_boolean():
            return packet  # a change of password, which is refused
        try:
            typed = request.get_string().decode("utf-8")
        except UnicodeDecodeError:
            return packet  # asyncssh ends the connection
        request.check_end()
        self._typed_password = typed
        return SSHPacket(Boolean(False) + String(b""))

    async def validate_password(self, username: str, password: str) -> bool:  # noqa: ARG002  asyncssh's was decoded; ours is as typed
        """Judge the password as it was typed."""
        typed, self._typed_password = self._typed_password, None
        return typed is not None and await super().validate_password(username, typed)

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Answer a refused attempt, or a right one that is not enough.

        Raises:
            asyncssh.DisconnectError: there were too many.
        """
        if self.door_owner is not None:
            partial_success = self.door_owner.attempt_answered()
        super().send_userauth_failure(partial_success)
        # paramiko asks for the service anew before each attempt; asyncssh would disconnect it.
        self._next_service = USERAUTH_SERVICE

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Answer a key probe, or verify a signature and only then judge the login."""
        owner = self.door_owner
        if owner is None:
            return False
        if not msg:
            return await owner.key_offered(username, key_data)
        turn = owner.begin_attempt("publickey")
        signed_by = owner.certified_key(key_data) if is_certificate(key_data) else key_data
        with owner.proving():
            proved = owner.signature_allowed(_signature_algorithm(signature)) and await _verified(
                super().validate_public_key(username, signed_by, msg, signature)
            )
        if not proved:
            owner.key_not_proved()
            return False
        flags = _signature_flags(signature)
        return await owner.key_proved(
            turn, username, key_data, touched=bool(flags & TOUCHED), verified=bool(flags & VERIFIED)
        )

    async def _validate_client_certificate(self, username: str, key_data: bytes) -> asyncssh.SSHKey | None:  # noqa: ARG002  asyncssh's signature
        """None: identity judges certificates, and asyncssh sees only the keys that they are made for."""
        return None

    def get_key_option(self, option: str, default: object = None) -> object:
        """An option of the key that is proved; asyncssh asks for no touch, since identity does."""
        return True if option == "no-touch-required" else super().get_key_option(option, default)

    # -- channels ----------------------------------------------------------------------------------------

    def create_server_channel(
        self, encoding: str | None = None, errors: str = "strict", window: int = 0, max_pktsize: int = 0
    ) -> asyncssh.SSHServerChannel[bytes]:
        """A channel of our kind: bytes, no terminal, no environment but `DoorChannel.door_variables`."""
        packet = max_pktsize or self._max_pktsize
        self._update_recv_pktlen(packet)
        return DoorChannel(
            self, self._loop, False, False, False, 0, 0, encoding, errors, window or self._window, packet
        )

    # -- pressure ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The socket does not take what we send: stop the sessions, and stop reading requests."""
        if self.door_reading is not None:
            self.door_reading.stop(OUTPUT)
        if self.door_owner is not None:
            self.door_owner.transport_full(True)

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self.door_owner is not None:
            self.door_owner.transport_full(False)
        if self.door_reading is not None:
            self.door_reading.go(OUTPUT)


class DoorChannel(asyncssh.SSHServerChannel[bytes]):
    """A session channel that keeps one variable of the environment and holds waiting input in one piece.

    Attributes:
        door_variables: what the client sent of the variables that are taken: GIT_PROTOCOL.
    """

    door_variables: Mapping[str, str] = MappingProxyType({})
    _turn_packets = TURN_PACKETS
    _turn: asyncio.Handle | None = None

    def process_open(self, send_chan: int, send_window: int, send_pktsize: int, session: Any) -> None:
        """Answer the request for a channel here and now; asyncssh makes a task of it."""
        self._send_chan, self._send_window, self._send_pktsize = send_chan, send_window, send_pktsize
        eager.start(self._finish_open_request(session), self._loop)

    def _flush_send_buf(self) -> None:
        # asyncssh seals all that the window takes at once: a packet for each byte, if the peer wants them so.
        size = self._send_pktsize
        if size >= SMALL_PACKET:
            super()._flush_send_buf()
            return
        kept = max(0, self._send_window - self._turn_packets * size)
        self._send_window -= kept
        before = self._send_window
        try:
            super()._flush_send_buf()
        finally:
            self._turn_packets -= -(-(before - self._send_window) // size)
            self._send_window += kept
        if self._turn is None and self._turn_packets < TURN_PACKETS:
            self._turn = self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._turn_packets = TURN_PACKETS
        if self._send_buf and self._send_state in {"open", "eof_pending", "close_pending"}:
            self._flush_send_buf()

    def exit(self, status: int) -> None:
        """End the channel: the status, the end of file and the end of the channel leave in one write."""
        connection = self._conn
        if not isinstance(connection, PacketConnection):
            super().exit(status)
            return
        mine = connection.cork()
        try:
            super().exit(status)
        finally:
            if mine:
                connection.uncork()

    def _accept_data(self, data: bytes, datatype: Any = None) -> None:
        # asyncssh keeps each packet of a paused channel as an object of its own; a peer that sends its window
        # in packets of one byte would make 4 MiB cost some 400.
        waiting = self._recv_buf
        if self._send_state in {"close_pending", "closed"}:
            # Dropped, and counted: asyncssh would take it without end. Beyond the window the connection ends.
            self._recv_window -= len(data)
        elif data and self._recv_paused and waiting:
            tail: Any = waiting[-1][0]
            if not isinstance(tail, bytearray):
                tail = bytearray(tail)
                waiting[-1] = (tail, waiting[-1][1])
            tail += data
            self._recv_window -= len(data)
        else:
            super()._accept_data(data, datatype)

    def _process_exec_request(self, packet: SSHPacket) -> bool:
        # asyncssh refuses a command line that is not UTF-8; names of files need not be.
        command = packet.get_string().decode("utf-8", "surrogateescape")
        packet.check_end()
        return self._start_session(command=command)

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        if name != b"GIT_PROTOCOL" or len(value) > MAX_VARIABLE_BYTES or not value.isascii():
            return False
        self.door_variables = {"GIT_PROTOCOL": value.decode()}
        return True

    def _process_x11_req_request(self, packet: SSHPacket) -> bool | None:  # noqa: ARG002  refused, whatever it holds
        return False

    # asyncssh declares None, and takes a bool for the answer to the request.
    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> bool:  # type: ignore[override]  # noqa: ARG002
        return False


def _signature_algorithm(signature: bytes) -> str:
    """The algorithm that a signature blob names (RFC 4253 section 6.6); empty if it names none."""
    try:
        return SSHPacket(signature).get_string().decode("ascii")
    except (PacketDecodeError, UnicodeDecodeError):
        return ""


def _signature_flags(signature: bytes) -> int:
    """The flags in the signature of a security key; 0 of any other signature."""
    if b"sk-" not in signature[:MAX_ALGORITHM]:
        return 0
    packet = SSHPacket(signature)
    try:
        if b"sk-" not in packet.get_string():
            return 0
        packet.get_string()
        return packet.get_byte()
    except PacketDecodeError:
        return 0


async def _verified(verification: Any) -> bool:
    try:
        return bool(await verification)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm):  # key parameters that make no key
        return False
