# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy's engine for asyncio, without its object-relational mapper.

`sqlalchemy.ext.asyncio` loads the mapper when it is imported: fifty modules, 6 MB of memory and a tenth of a
start, for classes that nothing here uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tidegate.packages import enter

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
else:
    enter("sqlalchemy.ext.asyncio")
    _engine = import_module("sqlalchemy.ext.asyncio.engine")
    AsyncConnection = _engine.AsyncConnection
    AsyncEngine = _engine.AsyncEngine
    create_async_engine = _engine.create_async_engine
