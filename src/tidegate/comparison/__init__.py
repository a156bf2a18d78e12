# SPDX-License-Identifier: Apache-2.0
"""Logs in to two SFTP servers as the same people and tells where their answers differ. Changes nothing there.

It is a client, and imports model and errors only.
"""
