# SPDX-License-Identifier: Apache-2.0
"""Logs in to a server as a client does, moves a file there and back, compares it, and removes it.

May import errors only: it is a client, of whatever server.
"""
