# SPDX-License-Identifier: Apache-2.0
"""The HTTP listener: sockets, admission, the edge of every request.

It serves any ASGI application; which one, `server` decides.

Rules of this room: it knows no route, no account and no file.
"""
