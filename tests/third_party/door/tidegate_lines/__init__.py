# SPDX-License-Identifier: Apache-2.0
"""A read-only door that speaks lines of text: LOGIN name password, LIST path, GET path, QUIT."""

from tidegate_lines.listener import LinesDoor

__all__ = ["LinesDoor"]
