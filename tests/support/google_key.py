# SPDX-License-Identifier: Apache-2.0
"""The key of a service account that no cloud knows, and a server that gives tokens for it."""

from __future__ import annotations

import functools
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """One for the process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account(token_uri: str, **more: str) -> str:
    """The JSON text of a service account, whose tokens come from `token_uri`."""
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    found = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": "k1",
        "private_key": private_key().private_bytes(*how).decode(),
        "client_email": "gate@project-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
        **more,
    }
    return json.dumps({name: value for name, value in found.items() if value})
