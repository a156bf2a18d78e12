# SPDX-License-Identifier: Apache-2.0
"""The command line: flags, terminals, and one module for each group of commands.

Rules of this room: thin; what it does to accounts is done by `accounts`, and what it starts by `server`.
Whatever takes long to import is imported by the command that needs it.
"""
