# SPDX-License-Identifier: Apache-2.0
"""Health of a server: named checks, each bounded in time, their results kept for a moment.

May import errors only: what is checked is given as functions. Decisions: docs/adr/0066.
"""
