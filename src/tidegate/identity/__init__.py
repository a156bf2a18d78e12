# SPDX-License-Identifier: Apache-2.0
"""Credential in, principal out, or a refusal. Hashes, keys, certificates, login rules.

Rules of this room: imports `model`, `errors`, `abc`, event kinds, `policy` (login rules are pure functions
there), the store contract and its rules for names; knows no protocol and no backend.
Costly hashing runs off the event loop.
"""
