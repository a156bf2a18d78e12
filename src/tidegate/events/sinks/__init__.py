# SPDX-License-Identifier: Apache-2.0
"""Takers of events: each keeps one kind of record."""
