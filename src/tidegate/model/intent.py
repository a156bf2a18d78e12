# SPDX-License-Identifier: Apache-2.0
"""Intents, and the permission names that allow them."""

from __future__ import annotations

import enum


class Permission(enum.StrEnum):
    """Permission names as they stand in accounts; the same words as the field's other gateway uses."""

    ANY = "*"
    LIST = "list"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    OVERWRITE = "overwrite"
    DELETE = "delete"
    DELETE_FILES = "delete_files"
    DELETE_DIRS = "delete_dirs"
    RENAME = "rename"
    RENAME_FILES = "rename_files"
    RENAME_DIRS = "rename_dirs"
    CREATE_DIRS = "create_dirs"
    CREATE_SYMLINKS = "create_symlinks"
    CHMOD = "chmod"
    CHOWN = "chown"
    CHTIMES = "chtimes"
    COPY = "copy"


class Intent(enum.StrEnum):
    """Everything a door can ask of the vfs. The gate is total over these."""

    LIST = "list"
    """read the names in a directory; judged on the directory itself"""
    STAT = "stat"
    """read attributes, of a link or of what it points to"""
    READLINK = "readlink"
    DOWNLOAD = "download"
    """read a file's content"""
    CHECKSUM = "checksum"
    """have a digest of a file's content"""
    UPLOAD = "upload"
    """create a new file"""
    OVERWRITE = "overwrite"
    """replace, resume, append to or truncate an existing file"""
    DELETE_FILE = "delete_file"
    DELETE_DIR = "delete_dir"
    RENAME_FILE = "rename_file"
    RENAME_DIR = "rename_dir"
    MKDIR = "mkdir"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHMOD = "chmod"
    CHOWN = "chown"
    CHTIMES = "chtimes"
    LOCK = "lock"
    """keep everybody else from changing it (RFC 4918)"""
    PROPERTIES = "properties"
    """set dead properties (RFC 4918)"""
    COPY = "copy"
    SPACE = "space"
    """ask how much room there is"""
