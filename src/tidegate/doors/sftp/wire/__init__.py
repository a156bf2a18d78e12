# SPDX-License-Identifier: Apache-2.0
"""The bytes of SFTP version 3, sans-IO: no sockets, no event loop, no clock.

`constants` names the numbers, `requests` turns a client's packet into a frozen request, `replies` builds
packets for the client. Sources: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4, for the
extensions with ``@openssh.com`` and for copy-data and home-directory; draft-ietf-secsh-filexfer-extensions-00
for check-file and copy-file; draft-ietf-secsh-filexfer-13, section 9, for space-available.
"""
