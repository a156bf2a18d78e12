# SPDX-License-Identifier: Apache-2.0
"""Tidegate: a file-transfer gateway.

Public and promised: `tidegate.abc` (contracts for third parties), `tidegate.errors`, `tidegate.model`
and `tidegate.testing`. Everything else is implementation and may move between releases.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tidegate")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
