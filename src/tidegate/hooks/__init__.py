# SPDX-License-Identifier: Apache-2.0
"""Hooks of logins and connections: programs and URLs of the operator, with the names and payloads of SFTPGo.

Rules of this room: imports `model`, `abc`, `errors`, `accounts`, `identity`, `outgoing`, `events.kinds`, and
of `store` the contract and documents; it knows no protocol and nothing that composes.
"""
