# SPDX-License-Identifier: Apache-2.0
"""Calls of hooks that decide about logins: variables, queries and bodies with the names of SFTPGo."""

from __future__ import annotations

import base64
from typing import Any

from tidegate.accounts.key_kinds import is_certificate, key_type
from tidegate.hooks.asking import Question, compact
from tidegate.hooks.documents import old_user_document, stranger_document, user_document
from tidegate.model import Account, Peer


def external_question(
    username: str,
    stored: Account | None,
    peer: Peer,
    *,
    secret: str = "",
    key: str = "",
    certificate: str = "",
    asks_questions: bool = False,
) -> Question:
    """The call of external authentication."""
    family = peer.protocol.family
    user = user_document(stored) if stored is not None else None
    line = f"{key}\n" if key else ""
    asked = "1" if asks_questions else ""
    document: dict[str, Any] = {
        "ip": peer.remote_ip,
        "keyboard_interactive": asked,
        "password": secret,
        "protocol": family,
        "public_key": line,
        "tls_cert": certificate,
        **({"user": user} if user is not None else {}),
        "username": username,
    }
    return Question(
        {
            "AUTHD_USERNAME": username,
            "AUTHD_USER": compact(user) if user is not None else "",
            "AUTHD_IP": peer.remote_ip,
            "AUTHD_PASSWORD": secret,
            "AUTHD_PUBLIC_KEY": line,
            "AUTHD_PROTOCOL": family,
            "AUTHD_TLS_CERT": certificate,
            "AUTHD_KEYBOARD_INTERACTIVE": asked,
        },
        body=compact(document).encode(),
        source=peer.remote_ip,
    )


def pre_login_question(
    username: str, stored: Account | None, peer: Peer, method: str, *, old: bool = False
) -> Question:
    """The call of the hook before a login."""
    family = peer.protocol.family
    if stored is None:
        document = stranger_document(username)
    else:
        document = old_user_document(stored) if old else user_document(stored)
    text = compact(document)
    return Question(
        {
            "LOGIND_USER": text,
            "LOGIND_METHOD": method,
            "LOGIND_IP": peer.remote_ip,
            "LOGIND_PROTOCOL": family,
        },
        query={"login_method": method, "ip": peer.remote_ip, "protocol": family},
        body=text.encode(),
        source=peer.remote_ip,
    )


def connection_question(protocol: str, address: str) -> Question:
    """The call of the hook about new connections."""
    return Question(
        {"CONNECTION_IP": address, "CONNECTION_PROTOCOL": protocol},
        method="GET",
        query={"ip": address, "protocol": protocol},
        source=address,
    )


def password_question(username: str, secret: str, peer: Peer) -> Question:
    """The call of the hook that checks passwords."""
    family = peer.protocol.family
    document = {"username": username, "ip": peer.remote_ip, "password": secret, "protocol": family}
    return Question(
        {
            "AUTHD_USERNAME": username,
            "AUTHD_PASSWORD": secret,
            "AUTHD_IP": peer.remote_ip,
            "AUTHD_PROTOCOL": family,
        },
        body=compact(document).encode(),
        source=peer.remote_ip,
    )


def openssh_line(blob: bytes) -> str:
    """A public key, or a certificate, as a line of ``authorized_keys`` without comment."""
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")] if is_certificate(blob) else key_type(blob)
    return f"{kind.decode('ascii', 'replace')} {base64.b64encode(blob).decode()}"
