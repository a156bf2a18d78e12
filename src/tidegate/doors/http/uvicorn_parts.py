# SPDX-License-Identifier: Apache-2.0
"""The parts of uvicorn that a server inside our loop needs.

The package itself also loads its command line, its reloaders and `multiprocessing`: 1.5 MB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tidegate.packages import enter

__all__ = ["STATUS_LINE", "Config", "HttpToolsProtocol", "Server", "service_unavailable"]

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.flow_control import service_unavailable
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
    from uvicorn.server import Server
else:
    enter("uvicorn", Config="config", Server="server")
    Config = import_module("uvicorn.config").Config
    Server = import_module("uvicorn.server").Server
    _impl = import_module("uvicorn.protocols.http.httptools_impl")
    HttpToolsProtocol, STATUS_LINE = _impl.HttpToolsProtocol, _impl.STATUS_LINE
    service_unavailable = _impl.service_unavailable
