# SPDX-License-Identifier: Apache-2.0
"""The log: JSON lines, written off the loop, rotated, free of secrets.

Rules of this room: imports `errors` and `nesting` only. Everything that is logged anywhere (our events, our
developer messages, asyncssh, uvicorn) goes through `open_log`'s one handler and one chain, so no author has
to think of secrets, rotation or line format. `search` reads what was written.
"""

from tidegate.logs.options import Level, LogOptions
from tidegate.logs.setup import Log, open_log

__all__ = ["Level", "Log", "LogOptions", "open_log"]
