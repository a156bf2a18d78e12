# SPDX-License-Identifier: Apache-2.0
"""HTTP: bindings, certificates, and the edge that every request passes on its way to an ASGI application.

Rules of this room: it knows no route, no account and no file; the application is handed to it.
"""
