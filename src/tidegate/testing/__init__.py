# SPDX-License-Identifier: Apache-2.0
"""Public test kits for those who implement `tidegate.abc`: `check_backend`, ill-behaved peers, a simulation.

Rules of this room: imports `abc`, `model`, `errors` and pytest; `peers` also asyncssh's client; `simulation`,
which runs the product itself, also `vfs`, `policy`, `events` and `backends`.
"""
