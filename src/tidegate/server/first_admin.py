# SPDX-License-Identifier: Apache-2.0
"""The first administrator, from the environment; there is no built-in password."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from tidegate.config.load import Loaded
from tidegate.errors import AlreadyExists, BadRecord, ConfigError, InvalidArgument
from tidegate.policy.strength import weakness
from tidegate.server.wiring import password_hasher, record_rules
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_admin

PREFIXES: Final = ("TIDEGATE", "SFTPGO")
"""Of ``*_DEFAULT_ADMIN_USERNAME`` and ``*_DEFAULT_ADMIN_PASSWORD``; the first that is set counts."""

_log = logging.getLogger(__name__)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return next((value for p in PREFIXES if (value := environ.get(f"{p}_DEFAULT_ADMIN_{name}"))), "")


async def create_first_admin(provider: Provider, loaded: Loaded, environ: Mapping[str, str]) -> str:
    """Add the administrator of the environment, if `create_default_admin` is on and there is none.

    Returns:
        their name; empty if nobody was added.

    Raises:
        ConfigError: name or password cannot be used.
        ProviderError: it cannot be stored.
    """
    section = loaded.settings.data_provider
    if not section.create_default_admin or await provider.admins(limit=1):
        return ""
    username, password = _variable(environ, "USERNAME"), _variable(environ, "PASSWORD")
    if not username or not password:
        _log.warning(
            "no administrator was made: data_provider.create_default_admin needs "
            "TIDEGATE_DEFAULT_ADMIN_USERNAME and TIDEGATE_DEFAULT_ADMIN_PASSWORD"
        )
        return ""
    least = section.password_validation.admins.min_entropy
    if (weak := weakness(password, least)) is not None:
        raise ConfigError(f"TIDEGATE_DEFAULT_ADMIN_PASSWORD {weak}")
    try:
        stored = await asyncio.to_thread(password_hasher(loaded), password)
        document = {"username": username, "password": stored, "permissions": ["*"]}
        admin = decode_admin(document, rules=record_rules(loaded))
    except InvalidArgument as error:
        raise ConfigError(f"TIDEGATE_DEFAULT_ADMIN_PASSWORD: {error.text}") from None
    except BadRecord as error:
        raise ConfigError(f"TIDEGATE_DEFAULT_ADMIN_USERNAME: {error.what}") from None
    try:
        await provider.add_admin(admin)
    except AlreadyExists:
        return ""  # another process was faster
    _log.info("made the first administrator %r from the environment", admin.username)
    return admin.username
