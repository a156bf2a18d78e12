# SPDX-License-Identifier: Apache-2.0
"""Credential in, principal out, or a refusal. Hashes, keys, certificates, login rules.

Rules of this room: imports `model`, `errors`, `abc`, `policy` (login rules are pure functions there) and the
store contract; knows no protocol and no backend. Costly hashing runs off the event loop.
"""
