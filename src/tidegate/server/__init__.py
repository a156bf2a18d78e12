# SPDX-License-Identifier: Apache-2.0
"""The composition root: configuration in, a running server out.

`app` builds every object by its constructor and hands it down; `wiring` turns settings into the options of
each room; `run` is the life of the ``serve`` process; `portable`, `quickstart` and `first_admin` are other
ways to begin; `http` gives the HTTP door its application.

Rules of this room: it may import every room; only `cli` imports it.
"""
