# SPDX-License-Identifier: Apache-2.0
"""Public test kits for those who implement `tidegate.abc`: `check_backend`, ill-behaved peers, a fake clock.

Rules of this room: imports `abc`, `model`, `errors` and pytest.
"""
