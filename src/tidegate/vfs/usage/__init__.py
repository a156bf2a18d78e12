# SPDX-License-Identifier: Apache-2.0
"""Usage and limits while files are used: counters, reservations, scans, marks of unfinished accounting."""
