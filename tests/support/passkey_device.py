# SPDX-License-Identifier: Apache-2.0
"""An authenticator in Python: makes keys and signs, by the bytes of WebAuthn level 3, sections 5.8.1 and 6."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40
PRIVATE = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_ES256: Final = ec.generate_private_key(ec.SECP256R1())


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw(given: str) -> bytes:
    return base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))


def cbor(value: Any) -> bytes:
    """Integers, bytes, texts and maps (RFC 8949)."""
    match value:
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case dict():
            return _head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    raise TypeError(type(value))


def _head(major: int, number: int) -> bytes:
    for limit, code, form in ((24, -1, ""), (1 << 8, 24, ">B"), (1 << 16, 25, ">H"), (1 << 32, 26, ">I")):
        if number < limit:
            return bytes((major << 5 | (number if code < 0 else code),)) + (
                struct.pack(form, number) if form else b""
            )
    raise ValueError(number)


def cose(key: PRIVATE) -> dict[int, Any]:
    """The public half as a COSE key."""
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
    if isinstance(public, ed25519.Ed25519PublicKey):
        encoding, form = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return {1: 1, 3: -8, -1: 6, -2: public.public_bytes(encoding, form)}
    numbers = public.public_numbers()
    return {1: 3, 3: -257, -1: numbers.n.to_bytes(public.key_size // 8), -2: numbers.e.to_bytes(3)}


@dataclass
class Device:
    """One authenticator with one passkey. Fields are what a test changes to have a bad one.

    Attributes:
        origin: of the page, as the browser writes it into what is signed.
        counter: last value; None is an authenticator without one, which says 0.
        flags: of every answer.
    """

    origin: str
    rp_id: str = "localhost"
    key: PRIVATE = field(default_factory=lambda: _ES256)
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    counter: int | None = 0
    flags: int = UP | UV
    handle: bytes = b""
    challenge: bytes | None = None
    """signed in place of the one that is asked for"""
    kind: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    """further members of the client data"""

    def create(self, options: dict[str, Any]) -> str:
        """The answer to ``navigator.credentials.create``, as JSON."""
        self.handle = raw(options["user"]["id"])
        credential = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor(cose(self.key))
        data = self._data(AT) + credential
        attestation = cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options)
        return self._answer({"clientDataJSON": client, "attestationObject": attestation})

    def get(self, options: dict[str, Any]) -> str:
        """The answer to ``navigator.credentials.get``, as JSON."""
        if self.counter is not None:
            self.counter += 1
        data, client = self._data(), self._client("webauthn.get", options)
        signature = self.sign(data + hashlib.sha256(client).digest())
        parts = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        return self._answer({**parts, "userHandle": self.handle})

    def sign(self, message: bytes) -> bytes:
        match self.key:
            case ec.EllipticCurvePrivateKey():
                return self.key.sign(message, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PrivateKey():
                return self.key.sign(message)
            case _:
                return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def _data(self, more: int = 0) -> bytes:
        digest = hashlib.sha256(self.rp_id.encode()).digest()
        return digest + struct.pack(">BI", self.flags | more, self.counter or 0)

    def _client(self, kind: str, options: dict[str, Any]) -> bytes:
        challenge = self.challenge if self.challenge is not None else raw(options["challenge"])
        document = {"type": self.kind or kind, "challenge": text(challenge), "origin": self.origin}
        return json.dumps({**document, "crossOrigin": False, **self.more}).encode()

    def _answer(self, response: dict[str, bytes]) -> str:
        parts = {name: text(value) for name, value in response.items() if value}
        made = {"id": text(self.id), "rawId": text(self.id), "type": "public-key", "response": parts}
        return json.dumps(made)
