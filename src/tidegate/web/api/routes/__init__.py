# SPDX-License-Identifier: Apache-2.0
"""One module for each kind of thing that the API manages; each exports ``router``."""

from __future__ import annotations

from typing import Final

BASE: Final = "/api/v2"
"""The beginning of the paths of every group, but for those of health."""
