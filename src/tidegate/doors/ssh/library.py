# SPDX-License-Identifier: Apache-2.0
"""Primitives that the installed cryptography library does: each one of the defaults is tried once.

Names alone do not tell. Under OpenSSL's FIPS provider the library goes on listing what the provider then
refuses, and which that is depends on the version of the provider.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.poly1305 import Poly1305

_TEXT: Final = bytes(16)


def _chacha20() -> None:
    Cipher(ChaCha20(bytes(32), bytes(16)), mode=None).encryptor().update(_TEXT)
    Poly1305.generate_tag(bytes(32), _TEXT)


def _x25519() -> None:
    one, other = (x25519.X25519PrivateKey.generate() for _ in range(2))
    one.exchange(other.public_key())


def _ed25519() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    key.public_key().verify(key.sign(_TEXT), _TEXT)


def _curve(curve: ec.EllipticCurve) -> None:
    one, other = (ec.generate_private_key(curve) for _ in range(2))
    one.exchange(ec.ECDH(), other.public_key())
    one.public_key().verify(one.sign(_TEXT, ec.ECDSA(hashes.SHA256())), _TEXT, ec.ECDSA(hashes.SHA256()))


def _mlkem(kind: type[mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey]) -> None:
    key = kind.generate()
    _, sealed = key.public_key().encapsulate()
    key.decapsulate(sealed)


_TRIALS: Final[dict[str, Callable[[], object]]] = {
    "chacha20": _chacha20,
    "-gcm": lambda: AESGCM(bytes(16)).encrypt(bytes(12), _TEXT, None),
    "-ctr": lambda: Cipher(AES(bytes(16)), CTR(bytes(16))).encryptor().update(_TEXT),
    "curve25519": _x25519,
    "x25519": _x25519,
    "ed25519": _ed25519,
    "nistp256": lambda: _curve(ec.SECP256R1()),
    "nistp384": lambda: _curve(ec.SECP384R1()),
    "nistp521": lambda: _curve(ec.SECP521R1()),
    "mlkem768": lambda: _mlkem(mlkem.MLKEM768PrivateKey),
    "mlkem1024": lambda: _mlkem(mlkem.MLKEM1024PrivateKey),
}
"""Parts of names of algorithms, and a use of the primitive that they stand for."""


@functools.cache
def _does(part: str) -> bool:
    try:
        _TRIALS[part]()
    except Exception:  # the library has several errors for what it does not do
        return False
    return True


def does(algorithm: str) -> bool:
    """True unless a primitive that an algorithm of SSH is built on does not work here.

    Tries each primitive once in the life of the process: some milliseconds in all.

    Args:
        algorithm: a name of SSH's; one that is built on none of the tried primitives is left to asyncssh.
    """
    return all(_does(part) for part in _TRIALS if part in algorithm)
