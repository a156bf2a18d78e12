# SPDX-License-Identifier: Apache-2.0
"""SFTP version 3 on an SSH channel (draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL extensions)."""
