# SPDX-License-Identifier: Apache-2.0
"""Looks addresses up in databases of countries, DNS blocklists and files of lists.

Rules of this room: imports `model`, `contracts`, `errors`; it knows no door, no store and no configuration.
Its checks are asked by `defence` and made by `server`. Libraries that an operator has to install are imported
when one of them is configured.
"""
