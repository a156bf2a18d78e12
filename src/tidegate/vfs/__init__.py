# SPDX-License-Identifier: Apache-2.0
"""The one file API that doors call: sessions, mounts, handles, uploads, usage.

Rules of this room: imports `policy`, `model`, `abc`, `errors`; knows no protocol and no concrete backend.
Every act passes the gate here, once before it and, where the object matters, again once it is known.
"""
