# SPDX-License-Identifier: Apache-2.0
"""Contracts that third parties implement, by subject; `tidegate.abc` has all their names.

Rules of this room: protocols and plain values only; imports `tidegate.model` and `tidegate.errors`.
"""
