# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy's engine for asyncio, without its object-relational mapper.

`sqlalchemy.ext.asyncio` loads the mapper when it is imported: fifty modules, 6 MB of memory and a tenth of a
start, for classes that nothing here uses. So the package is entered without running its first file; who asks
it for one of those classes later, a plugin for instance, gets the whole package.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, Final

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]

_PACKAGE: Final = "sqlalchemy.ext.asyncio"


def enter_package() -> None:
    """Make the package a place to import modules from; the first name asked of it itself runs it."""
    if _PACKAGE in sys.modules:
        return
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.loader is not None
    package, loader = module_from_spec(spec), spec.loader

    def whole(name: str) -> Any:
        if name.startswith("__") or find_spec(f"{_PACKAGE}.{name}") is not None:
            raise AttributeError(name)  # a module of the package: the import that asks loads it then
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = whole  # type: ignore[method-assign]  # PEP 562
    sys.modules[_PACKAGE] = package
    parent, _, name = _PACKAGE.rpartition(".")
    setattr(sys.modules[parent], name, package)


if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
else:
    enter_package()
    _engine = import_module(f"{_PACKAGE}.engine")
    AsyncConnection = _engine.AsyncConnection
    AsyncEngine = _engine.AsyncEngine
    create_async_engine = _engine.create_async_engine
