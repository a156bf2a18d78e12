# SPDX-License-Identifier: Apache-2.0
"""Security keys (FIDO) in software: what a device signs is two hashes, its flags and a counter."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from asyncssh.packet import Byte, MPInt, String, UInt32
from asyncssh.public_key import SSHCertificate, SSHKey, SSHLocalKeyPair, decode_ssh_public_key
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KINDS = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
TOUCHED, VERIFIED = 1, 4
_APPLICATION = b"ssh:"


class SecurityKey:
    """A new key of a kind; `pair` makes what a client signs with."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.counter = 0
        self._sign: Callable[[bytes], bytes]
        if "ed25519" in kind:
            private = ed25519.Ed25519PrivateKey.generate()
            raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            blob = String(kind) + String(raw) + String(_APPLICATION)
            self._sign = private.sign
        else:
            curve = ec.generate_private_key(ec.SECP256R1())
            raw = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            blob = String(kind) + String("nistp256") + String(raw) + String(_APPLICATION)

            def sign(data: bytes) -> bytes:
                r, s = decode_dss_signature(curve.sign(data, ec.ECDSA(hashes.SHA256())))
                return MPInt(r) + MPInt(s)

            self._sign = sign
        self.public: SSHKey = decode_ssh_public_key(blob)

    @property
    def line(self) -> str:
        """The line of ``authorized_keys``."""
        return f"{self.kind} {base64.b64encode(self.public.public_data).decode()}"

    def pair(self, flags: int, certificate: SSHCertificate | None = None) -> SSHLocalKeyPair:
        """A key pair of asyncssh that signs with these flags."""
        return _Pair(self, flags, certificate)

    def signature(self, data: bytes, flags: int) -> bytes:
        """A signature as the device and OpenSSH make it (PROTOCOL.u2f)."""
        self.counter += 1
        text = hashlib.sha256(_APPLICATION).digest() + Byte(flags) + UInt32(self.counter)
        signed = self._sign(text + hashlib.sha256(data).digest())
        return String(self.kind) + String(signed) + Byte(flags) + UInt32(self.counter)


class _Pair(SSHLocalKeyPair):
    def __init__(self, key: SecurityKey, flags: int, certificate: SSHCertificate | None) -> None:
        super().__init__(key.public, key.public, certificate, None)
        self._device, self._flags = key, flags

    def sign(self, data: bytes) -> bytes:
        return self._device.signature(data, self._flags)
