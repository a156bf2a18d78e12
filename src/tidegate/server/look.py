# SPDX-License-Identifier: Apache-2.0
"""The look of the pages by the configuration: an operator's own templates and files."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tidegate.config.load import Loaded

if TYPE_CHECKING:
    from tidegate.web.admin.brand import Brand
    from tidegate.web.admin.rendering import Look

_log = logging.getLogger(__name__)


async def look_of(loaded: Loaded) -> Look | None:
    """The look of the pages with the operator's own templates and files; None if there are none.

    Raises:
        ConfigError: one of them cannot be used.
    """
    httpd = loaded.settings.httpd
    if not (httpd.templates_path or httpd.static_files_path):
        return None
    return await asyncio.to_thread(_own_look, loaded)


def _own_look(loaded: Loaded) -> Look:
    look, brand = own_brand(loaded)
    for note in brand.notes:
        _log.warning("%s", note)
    return look


def own_brand(loaded: Loaded) -> tuple[Look, Brand]:
    """The operator's own templates and files. Blocking.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from tidegate.web.admin.brand import own_look

    httpd = loaded.settings.httpd
    return own_look(
        *(loaded.resolve(name) if name else None for name in (httpd.templates_path, httpd.static_files_path))
    )
