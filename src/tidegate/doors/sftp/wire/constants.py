# SPDX-License-Identifier: Apache-2.0
"""Numbers of the protocol (draft-ietf-secsh-filexfer-02, sections 3 to 7) and bounds of this server."""

from __future__ import annotations

from typing import Final

VERSION: Final = 3
"""The only protocol version spoken; clients of later versions step down to it."""

# Packet types (section 3).
INIT: Final = 1
REPLY_VERSION: Final = 2
OPEN: Final = 3
CLOSE: Final = 4
READ: Final = 5
WRITE: Final = 6
LSTAT: Final = 7
FSTAT: Final = 8
SETSTAT: Final = 9
FSETSTAT: Final = 10
OPENDIR: Final = 11
READDIR: Final = 12
REMOVE: Final = 13
MKDIR: Final = 14
RMDIR: Final = 15
REALPATH: Final = 16
STAT: Final = 17
RENAME: Final = 18
READLINK: Final = 19
SYMLINK: Final = 20
STATUS: Final = 101
HANDLE: Final = 102
DATA: Final = 103
NAME: Final = 104
ATTRS: Final = 105
EXTENDED: Final = 200
EXTENDED_REPLY: Final = 201

# Status codes (section 7).
OK: Final = 0
EOF: Final = 1
NO_SUCH_FILE: Final = 2
PERMISSION_DENIED: Final = 3
FAILURE: Final = 4
BAD_MESSAGE: Final = 5
OP_UNSUPPORTED: Final = 8

# OPEN flags (section 6.3).
FLAG_READ: Final = 0x01
FLAG_WRITE: Final = 0x02
FLAG_APPEND: Final = 0x04
FLAG_CREATE: Final = 0x08
FLAG_TRUNCATE: Final = 0x10
FLAG_EXCLUSIVE: Final = 0x20

# Attribute flags (section 5).
ATTR_SIZE: Final = 0x01
ATTR_OWNER: Final = 0x02
ATTR_MODE: Final = 0x04
ATTR_TIMES: Final = 0x08
ATTR_EXTENDED: Final = 0x80000000

SAME_OWNER: Final = 0xFFFFFFFF
"""The id that leaves user or group as it is, as in chown(2): who sets one sends it for the other."""

MAX_PACKET_BYTES: Final = 1024 * 1024
"""Longest packet accepted, without its length field; a longer one ends the channel."""

ADVERTISED_PACKET_BYTES: Final = 256 * 1024
"""The size that ``limits@openssh.com`` tells clients to stay within, as OpenSSH's own server does."""

ADVERTISED_IO_BYTES: Final = 255 * 1024
"""Most bytes answered to one READ, and advertised for READ and WRITE."""

HANDLE_BYTES: Final = 8
"""Length of the handles that this server issues; the draft allows up to 256."""

MAX_ATTR_EXTENSIONS: Final = 64
"""Most extended attribute pairs accepted in one request."""

DATA_HEADER_BYTES: Final = 13
"""Length, type, request id and data length in front of the bytes of a DATA packet."""
