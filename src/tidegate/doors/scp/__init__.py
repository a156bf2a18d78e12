# SPDX-License-Identifier: Apache-2.0
"""SCP, the protocol of ``scp -O`` and of what came before SFTP: files over the channel of an SSH command.

Nobody ever wrote the protocol down; what OpenSSH's scp.c reads and writes is the measure. `wire` has the
records, `options` the command line, `stream` the bytes of a channel, `content` those of files, `sink`
receives files, `source` sends them, `wildcards` finds them, `dialogue` is one channel from beginning to end.

Rules of this room: as of `tidegate.doors`; it knows no SSH, only a transport (`doors.common.transport`).
"""
