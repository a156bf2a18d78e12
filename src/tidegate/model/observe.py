# SPDX-License-Identifier: Apache-2.0
"""Whoever is told of the time that calls take."""

from __future__ import annotations

from collections.abc import Callable

Observe = Callable[[str, str, float, bool], object]
"""Told of one call: two words for what was called, seconds, and True if it worked."""
