# SPDX-License-Identifier: Apache-2.0
"""The command line: thin; calls `app`, `store`, `config`."""
