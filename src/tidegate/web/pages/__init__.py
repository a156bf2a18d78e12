# SPDX-License-Identifier: Apache-2.0
"""Pages for people: HTML that a browser shows."""
