# SPDX-License-Identifier: Apache-2.0
"""Encrypts the secrets of records by a master key of the operator's (docs/adr/0044).

`keys` reads master keys, `envelope` encrypts one value, `sealer` is what the composition root hands to
whoever stores or uses secrets. May import model and errors; knows no record and no store.
"""
