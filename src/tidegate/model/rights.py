# SPDX-License-Identifier: Apache-2.0
"""Rights of an account to one thing in the tree, for listings that tell them."""

from __future__ import annotations

import enum


class Right(enum.IntFlag):
    """One right; the last four are about what is in a directory."""

    READ = enum.auto()
    """its content, of a file"""
    WRITE = enum.auto()
    """replace its content or append to it, of a file"""
    REMOVE = enum.auto()
    RENAME = enum.auto()
    LIST = enum.auto()
    CREATE_FILES = enum.auto()
    CREATE_DIRS = enum.auto()
    REMOVE_INSIDE = enum.auto()
