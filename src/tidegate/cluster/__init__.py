# SPDX-License-Identifier: Apache-2.0
"""Live state that several workers or nodes share: sessions, and messages that end them.

Rules of this room: imports `model`, `abc`, `errors`; knows no protocol.
"""
