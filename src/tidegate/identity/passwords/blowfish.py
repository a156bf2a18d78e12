# SPDX-License-Identifier: Apache-2.0
"""bcrypt: ``$2a$``, ``$2b$`` and ``$2y$``, which differ in old implementations' bugs only.

The library is imported by the first hash that needs it, in the thread that checks or makes it.
"""

from __future__ import annotations

import re
from typing import Final

from tidegate.errors import InvalidArgument
from tidegate.identity.passwords.limits import Unusable

PREFIXES: Final = ("$2a$", "$2b$", "$2y$")

SIGNIFICANT_BYTES: Final = 72
"""bcrypt looks at no more of a password than this."""

LEAST_COST: Final = 4
"""log2 of the fewest rounds that bcrypt has."""

_FORM = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")


def verify(password: bytes, stored: str) -> bool:
    """True if `password` has this hash; bytes after the 72nd do not count, as in every implementation.

    Raises:
        Unusable: the hash is malformed or its cost is out of bounds.
    """
    match = _FORM.fullmatch(stored)
    if match is None:
        raise Unusable("malformed bcrypt hash")
    if int(match[1]) < LEAST_COST:
        raise Unusable(f"bcrypt cost {match[1]} is below {LEAST_COST}")
    import bcrypt

    try:
        return bcrypt.checkpw(password[:SIGNIFICANT_BYTES], stored.encode("ascii"))
    except ValueError:
        raise Unusable("malformed bcrypt hash") from None


def hash_password(password: bytes, cost: int) -> str:
    """A new ``$2b$`` hash.

    Raises:
        InvalidArgument: the password is longer than bcrypt can tell apart.
    """
    if len(password) > SIGNIFICANT_BYTES:
        raise InvalidArgument(f"password: longer than the {SIGNIFICANT_BYTES} bytes that bcrypt can use")
    import bcrypt

    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode("ascii")


def is_current(stored: str, cost: int) -> bool:
    """True if `stored` is bcrypt of exactly this cost."""
    match = _FORM.fullmatch(stored)
    return match is not None and int(match[1]) == cost
