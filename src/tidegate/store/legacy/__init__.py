# SPDX-License-Identifier: Apache-2.0
"""Dumps of SFTPGo, 0.9 to 2.7, read with the meaning that their own era gave them.

A field that restricts what somebody may do and cannot be carried closes the account: a move fails closed
(ADR 0024). `table` says what becomes of every field.
"""
