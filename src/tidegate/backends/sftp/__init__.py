# SPDX-License-Identifier: Apache-2.0
"""Another SFTP server as storage; decisions: docs/adr/0048.

`kind` is what records name, `pool` has the connections, `backend` the contract of `tidegate.abc.Backend`.
"""
