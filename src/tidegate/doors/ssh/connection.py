# SPDX-License-Identifier: Apache-2.0
"""asyncssh's server connection and channel, with the few methods of theirs that this door needs otherwise.

asyncssh has no public way to answer "partial success" and hands a public key to the application before the
signature is verified. Both are settled by overriding two methods that carry no underscore:
`send_userauth_failure` and `validate_public_key`. Most of the rest bounds memory. `self_check` proves at
start that the methods are there and are called as this file believes; the dependency is pinned to a minor
range besides.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final, cast

import asyncssh
from asyncssh.auth import get_supported_server_auth_methods
from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String
from cryptography.exceptions import UnsupportedAlgorithm

from tidegate.errors import OperatorError

if TYPE_CHECKING:
    from tidegate.doors.ssh.server import SshLogin

WRITE_HIGH: Final = 512 * 1024
"""Bytes in the transport's own buffer above which the connection takes nothing more in."""

WRITE_LOW: Final = 128 * 1024
"""Bytes in the transport's buffer at which it goes on."""

INPUT_PIECE: Final = 32 * 1024
"""Bytes handed to asyncssh at once. 256 KiB of packets of 40 bytes would make it copy 900 MB."""

USERAUTH_SERVICE: Final = b"ssh-userauth"

_EXPECTED: Final = {
    SSHServerConnection: {
        "send_userauth_failure": ("self", "partial_success"),
        "validate_public_key": ("self", "username", "key_data", "msg", "signature"),
        "validate_password": ("self", "username", "password"),
        "send_userauth_success": ("self",),
        "_finish_userauth": ("self", "begin_auth", "method", "packet"),
        "reload_config": ("self",),
        "create_server_channel": ("self", "encoding", "errors", "window", "max_pktsize"),
        "_update_recv_pktlen": ("self", "max_pktsize"),
        "connection_made": ("self", "transport"),
        "data_received": ("self", "data", "datatype"),
        "pause_writing": ("self",),
        "resume_writing": ("self",),
    },
    asyncssh.SSHServerChannel: {
        "_accept_data": ("self", "data", "datatype"),
        "_process_env_request": ("self", "packet"),
        "_process_x11_req_request": ("self", "packet"),
        "_process_auth_agent_req_at_openssh_dot_com_request": ("self", "packet"),
    },
}


_EXPECTED_STATE: Final = ("_next_service", "_loop", "_auth_complete")


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
    calls = inspect.getsource(SSHServerConnection.send_userauth_failure)
    if tuple(offered) != ("conn",) or "get_supported_server_auth_methods" not in calls:
        raise OperatorError(
            f"asyncssh {asyncssh.__version__} is not supported: it offers methods in another way"
        )


class DoorConnection(SSHServerConnection):
    """One SSH connection. Its owner (`SshLogin`) judges credentials and holds the sessions."""

    door_transport: asyncio.Transport | None = None
    door_owner: SshLogin | None = None
    _typed_password: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the conversation, with a bound on what may wait to be sent."""
        stream = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        stream.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.door_transport = stream
        super().connection_made(transport)

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        """Take input in pieces: asyncssh copies all that is left of it for each packet it takes off."""
        if len(data) <= INPUT_PIECE:
            super().data_received(data, datatype)
            return
        for start in range(0, len(data), INPUT_PIECE):
            super().data_received(data[start : start + INPUT_PIECE], datatype)

    # -- logging in --------------------------------------------------------------------------------------

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
        with owner.proving():
            proved = owner.signature_allowed(_signature_algorithm(signature)) and await _verified(
                super().validate_public_key(username, key_data, msg, signature)
            )
        if not proved:
            owner.key_not_proved()
            return False
        return await owner.key_proved(turn, username, key_data)

    # -- channels ----------------------------------------------------------------------------------------

    def create_server_channel(
        self, encoding: str | None = None, errors: str = "strict", window: int = 0, max_pktsize: int = 0
    ) -> asyncssh.SSHServerChannel[bytes]:
        """A channel of our kind: bytes, no terminal, no environment."""
        packet = max_pktsize or self._max_pktsize
        self._update_recv_pktlen(packet)
        return DoorChannel(
            self, self._loop, False, False, False, 0, 0, encoding, errors, window or self._window, packet
        )

    # -- pressure ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The socket does not take what we send: stop the sessions, and stop reading requests."""
        transport = self.door_transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
        if self.door_owner is not None:
            self.door_owner.transport_full(True)

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self.door_owner is not None:
            self.door_owner.transport_full(False)
        transport = self.door_transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()


class DoorChannel(asyncssh.SSHServerChannel[bytes]):
    """A session channel that keeps no environment and holds waiting input in one piece."""

    def _accept_data(self, data: bytes, datatype: Any = None) -> None:
        # asyncssh keeps each packet of a paused channel as an object of its own; a peer that sends its window
        # in packets of one byte would make 4 MiB cost some 400.
        waiting = self._recv_buf
        if data and self._recv_paused and waiting and self._send_state not in {"close_pending", "closed"}:
            tail: Any = waiting[-1][0]
            if not isinstance(tail, bytearray):
                tail = bytearray(tail)
                waiting[-1] = (tail, waiting[-1][1])
            tail += data
            self._recv_window -= len(data)
        else:
            super()._accept_data(data, datatype)

    def _process_env_request(self, packet: SSHPacket) -> bool:
        packet.get_string()
        packet.get_string()
        packet.check_end()
        return False

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


async def _verified(verification: Any) -> bool:
    try:
        return bool(await verification)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm):  # key parameters that make no key
        return False
