# SPDX-License-Identifier: Apache-2.0
"""HTTP: the REST API, health, and the description of both.

Thin: handlers decode, ask `store`, `identity`, `policy`, `vfs` or `cluster`, and encode. They never see the
composition root, only `services.Services`, and never block the loop. FastAPI is imported by `server` and what
it imports, so a configuration without an HTTP binding pays nothing for it.
"""
