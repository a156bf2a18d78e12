# SPDX-License-Identifier: Apache-2.0
"""Hashes of Unix password files: $1$, $apr1$, $5$, $6$, $7$, $y$, $gy$ and {CRYPT}.

The system's crypt(3) is used where it is there, because it works without holding the interpreter; libpass
covers MD5 and SHA crypt elsewhere, and ``$apr1$`` always. scrypt (``$7$``, as Pure-FTPd stores it) and
yescrypt need libxcrypt; musl has neither. ``{CRYPT}`` marks hashes without a prefix of their own, for
instance traditional DES ones from ProFTPD files.

libpass is imported by the first hash that needs it, in the thread that checks it.
"""

from __future__ import annotations

import ctypes
import functools
import hmac
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from tidegate.identity.passwords.limits import Unusable

CRYPT_MARK: Final = "{CRYPT}"
PREFIXES: Final = ("$1$", "$apr1$", "$5$", "$6$", "$7$", "$y$", "$gy$", CRYPT_MARK)

_SALT = r"[^$:*!\s]{0,16}"
_FORMS: Final = {
    "$1$": re.compile(rf"\$1\${_SALT}\$[./A-Za-z0-9]{{22}}"),
    "$apr1$": re.compile(rf"\$apr1\${_SALT}\$[./A-Za-z0-9]{{22}}"),
    "$5$": re.compile(rf"\$5\$(?:rounds=(\d{{1,9}})\$)?{_SALT}\$[./A-Za-z0-9]{{43}}"),
    "$6$": re.compile(rf"\$6\$(?:rounds=(\d{{1,9}})\$)?{_SALT}\$[./A-Za-z0-9]{{86}}"),
    # N (log2), r and p (30 bits each), salt: crypt(5), SCRYPT.
    "$7$": re.compile(
        r"\$7\$([./A-Za-z0-9])([./A-Za-z0-9]{5})([./A-Za-z0-9]{5})[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"
    ),
    # flavour j, N (log2, less one), r of 8 or 32: the parameters that crypt_gensalt makes.
    "$y$": re.compile(r"\$y\$j([./A-Za-z0-9])([5T])\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"),
    "$gy$": re.compile(r"\$gy\$j([./A-Za-z0-9])([5T])\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"),
}
_DES = re.compile(r"[./A-Za-z0-9]{13}")
_LIBPASS: Final = {
    "$apr1$": "apr_md5_crypt",
    "$1$": "md5_crypt",
    "$5$": "sha256_crypt",
    "$6$": "sha512_crypt",
}

_SCRATCH_BYTES: Final = 256 * 1024
"""Room for `struct crypt_data`: 32 KiB in libxcrypt, 128 KiB in old glibc."""


def verify(password: bytes, stored: str) -> bool:
    """True if `password` has this hash.

    Raises:
        Unusable: the hash is malformed, or this system cannot check it.
    """
    if stored.startswith(CRYPT_MARK):
        stored = stored[len(CRYPT_MARK) :]
        if _DES.fullmatch(stored):
            return _by_system(password, stored)
    prefix = next((known for known in _FORMS if stored.startswith(known)), None)
    match = _FORMS[prefix].fullmatch(stored) if prefix else None
    if prefix is None or match is None:
        raise Unusable(f"malformed {prefix or CRYPT_MARK} hash")
    if prefix == "$apr1$" or (prefix in _LIBPASS and system_crypt() is None):
        return _by_libpass(prefix, password, stored)
    return _by_system(password, stored)


def _by_libpass(prefix: str, password: bytes, stored: str) -> bool:
    function: Any = getattr(import_module("passlib.hash"), _LIBPASS[prefix])
    try:
        return bool(function.verify(password, stored))
    except ValueError:
        raise Unusable(f"malformed {prefix} hash") from None


def _by_system(password: bytes, stored: str) -> bool:
    function = system_crypt()
    made = function(password, stored.encode("ascii")) if function else None
    # Failure is NULL or a token starting with an asterisk, which no hash does: crypt(3). musl takes a prefix
    # that it does not know for the salt of a DES hash.
    kind = stored[: stored.find("$", 1) + 1] if stored.startswith("$") else ""
    if made is None or made.startswith(b"*") or not made.startswith(kind.encode("ascii")):
        raise Unusable("the crypt of this system cannot check this kind of hash")
    return hmac.compare_digest(made, stored.encode("ascii"))


@functools.cache
def system_crypt() -> Callable[[bytes, bytes], bytes | None] | None:
    """The system's crypt_r(3), or None. `crypt` left the standard library in Python 3.13."""
    # musl has it in its C library, which is loaded: None.
    for name in ("libcrypt.so.2", "libcrypt.so.1", None):
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        function.restype = ctypes.c_char_p

        def call(
            password: bytes, setting: bytes, crypt_r: Callable[..., bytes | None] = function
        ) -> bytes | None:
            return crypt_r(password, setting, ctypes.create_string_buffer(_SCRATCH_BYTES))

        return call
    return None
