# SPDX-License-Identifier: Apache-2.0
"""Loads parts of other packages: what is needed, when it is needed, beside the loop."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any, Final

_RUN_FOR: Final = frozenset({"__all__", "__version__"})
"""Names with underscores that the package's own file tells; tools that look around ask for others."""


def enter(package: str, **given: str) -> None:
    """Make a package a place to import modules from, without running its own first file.

    Some packages load far more there than one module of theirs needs. The first name that is asked of the
    package itself runs it after all, so that others find it whole. Does nothing if it is loaded.

    Args:
        package: its name.
        given: names that its modules ask of the package, and the module that has each: they do not run it.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    entered, loader = module_from_spec(spec), spec.loader

    def whole(name: str) -> Any:
        if name in given:
            return getattr(import_module(f"{package}.{given[name]}"), name)
        if (name.startswith("__") and name not in _RUN_FOR) or find_spec(f"{package}.{name}") is not None:
            raise AttributeError(name)  # a module of the package: the import that asks loads it then
        del entered.__getattr__
        loader.exec_module(entered)
        return getattr(entered, name)

    entered.__getattr__ = whole  # type: ignore[method-assign]  # PEP 562
    sys.modules[package] = entered
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, entered)


async def load_beside(module: str) -> None:
    """Import a module in a thread, so that an import on the loop finds it there."""
    if module not in sys.modules:
        await asyncio.to_thread(import_module, module)
