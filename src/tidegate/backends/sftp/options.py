# SPDX-License-Identifier: Apache-2.0
"""Options of a record under ``sftpconfig``: a directory of another SFTP server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final

from tidegate.model import Reach
from tidegate.model.secrets import Secret, check_secret, open_secret

MIB: Final = 1024 * 1024
DEFAULT_PORT: Final = 22
BUFFER_MIB: Final = range(17)
"""`buffer_size` in MiB."""
_ENDPOINT: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\s:\[\]/@]+))(?::(?P<port>\d{1,5}))?"
)
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class SftpOptions:
    """A directory of another server, and the account that reaches it.

    Attributes:
        endpoint: ``host:port`` of the server; ``host`` alone means port 22, ``[address]:port`` IPv6.
        username: the account there.
        password: of it.
        private_key: of it: the text of a private key in OpenSSH or PEM form. It is tried before `password`.
        key_passphrase: what `private_key` is encrypted with.
        fingerprints: of the host keys that the server may show, as ``ssh-keygen -l`` prints them
            (``SHA256:...``). None is trusted without being named: without fingerprints nothing is opened, and
            ``tidegate check --storage`` says which key the server shows.
        prefix: absolute path of the directory there that is the root, by default ``/``; made if missing.
        disable_concurrent_reads: one read of a file at a time, for servers that give a file out once.
        buffer_size: accepted, 0 to 16; what clients ask for is under way at the same time without it.
        equality_check_mode: accepted; roots are one place only if all options are equal.
    """

    endpoint: str = ""
    username: str = ""
    password: Secret = field(default="", repr=False)
    private_key: Secret = field(default="", repr=False)
    key_passphrase: Secret = field(default="", repr=False)
    fingerprints: tuple[str, ...] = ()
    prefix: str = ""
    disable_concurrent_reads: bool = False
    buffer_size: int = 0
    equality_check_mode: int = 0

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("password", "private_key", "key_passphrase"):
            check_secret(name, getattr(self, name))
        self.address()
        if not self.username:
            raise ValueError("username is missing")
        if not self.password and not self.private_key:
            raise ValueError("password and private_key are missing: one of them is needed")
        for text in self.fingerprints:
            if not _FINGERPRINT.fullmatch(text):
                raise ValueError(f"fingerprints has {text!r}; expected SHA256: and 43 letters")
        if self.prefix and not self.prefix.startswith("/"):
            raise ValueError(f"prefix is {self.prefix!r}; expected an absolute path")
        if "\0" in self.prefix or ".." in self.prefix.split("/"):
            raise ValueError(f"prefix is {self.prefix!r}; expected a path without ..")
        if self.buffer_size not in BUFFER_MIB:
            raise ValueError(f"buffer_size is {self.buffer_size}; expected 0 to {BUFFER_MIB.stop - 1} MiB")
        if self.equality_check_mode not in {0, 1}:
            raise ValueError(f"equality_check_mode is {self.equality_check_mode}; expected 0 or 1")

    def address(self) -> tuple[str, int]:
        """Host and port.

        Raises:
            ValueError: `endpoint` names none.
        """
        if not self.endpoint:
            raise ValueError("endpoint is missing")
        found = _ENDPOINT.fullmatch(self.endpoint)
        port = int(found["port"] or DEFAULT_PORT) if found else 0
        if found is None or not 0 < port < 65536:
            if "@" in self.endpoint:  # it may hold a secret, so it is not repeated
                raise ValueError("endpoint holds a user; expected host:port")
            raise ValueError(f"endpoint is {self.endpoint!r}; expected host:port")
        return found["v6"] or found["host"], port

    def reach(self) -> Reach:
        """The host that it uses; the credentials are always its own."""
        host, port = self.address()
        return Reach({"endpoint": f"sftp://[{host}]:{port}" if ":" in host else f"sftp://{host}:{port}"})

    @property
    def root(self) -> bytes:
        """`prefix` without a slash at its end; empty for the whole of the server."""
        parts = [part for part in self.prefix.split("/") if part not in {"", "."}]
        return "".join(f"/{part}" for part in parts).encode("utf-8", "surrogateescape")

    @property
    def place(self) -> str:
        """``user@host:port``, for logs and errors; holds no secret."""
        host, port = self.address()
        return f"{self.username}@[{host}]:{port}" if ":" in host else f"{self.username}@{host}:{port}"

    def secret(self, name: str) -> str:
        """The value of one of the secrets; empty if there is none."""
        return open_secret(name, getattr(self, name))
