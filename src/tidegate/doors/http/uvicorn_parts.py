# SPDX-License-Identifier: Apache-2.0
"""The parts of uvicorn that a server inside our loop needs.

The package itself also loads its command line, its reloaders and `multiprocessing`: 1.5 MB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tidegate.packages import enter

__all__ = ["Config", "H11Protocol", "Server"]

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import Server
else:
    enter("uvicorn", Config="config", Server="server")
    Config = import_module("uvicorn.config").Config
    Server = import_module("uvicorn.server").Server
    H11Protocol = import_module("uvicorn.protocols.http.h11_impl").H11Protocol
