# SPDX-License-Identifier: Apache-2.0
"""Tidegate: a file-transfer gateway.

Public and promised: `tidegate.abc` (contracts for third parties), `tidegate.errors`, `tidegate.model`
and `tidegate.testing`. Everything else is implementation and may move between releases.
"""

__version__ = "0.2.0"
"""The one place of the version; a constant: asking the installed metadata takes 0.1 s of each start."""

__all__ = ["__version__"]
