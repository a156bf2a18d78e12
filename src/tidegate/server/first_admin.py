# SPDX-License-Identifier: Apache-2.0
"""The first administrator, from the environment; there is no built-in password."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.needs import Emits
from tidegate.config.load import Loaded
from tidegate.errors import AlreadyExists, BadRecord, ConfigError
from tidegate.server.administration import administration
from tidegate.store.contract import Provider

PREFIXES: Final = ("TIDEGATE", "SFTPGO")
"""Of ``*_DEFAULT_ADMIN_USERNAME`` and ``*_DEFAULT_ADMIN_PASSWORD``; the first that is set counts."""

BY: Final = operator("environment", Channel.ENVIRONMENT)

_log = logging.getLogger(__name__)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return next((value for p in PREFIXES if (value := environ.get(f"{p}_DEFAULT_ADMIN_{name}"))), "")


async def create_first_admin(
    provider: Provider, loaded: Loaded, environ: Mapping[str, str], events: Emits | None = None
) -> str:
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
    document = {"username": username, "permissions": ["*"]}
    service = administration(loaded, provider, events=events)
    try:
        admin = await service.admins.add(document, by=BY, password=password)
    except AlreadyExists:
        return ""  # another process was faster
    except BadRecord as error:
        if error.field == "password":
            raise ConfigError(f"TIDEGATE_DEFAULT_ADMIN_PASSWORD {error.what}") from None
        raise ConfigError(f"TIDEGATE_DEFAULT_ADMIN_USERNAME: {error.what}") from None
    _log.info("made the first administrator %r from the environment", admin.username)
    return admin.username
