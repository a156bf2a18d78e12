# SPDX-License-Identifier: Apache-2.0
"""Command lines of WinSCP's SCP mode, read one after the other from an SSH shell channel. No shell ever runs.

SCP moves files only. WinSCP lists, renames and removes by command lines that it sends to an interactive
shell, each followed by ``echo "WinSCP: this is end-of-file:$?"``; copies are ``scp`` within the same channel.
`lines` takes a line apart, `commands` has what may be run, `listing` and `changes` do it through the session,
`dialogue` is one channel from beginning to end. Served where `sftpd.scp_shell` is on.

Source: WinSCP's table of commands and its reading of their output (ScpFileSystem.cpp, versions 4 to 6).

Rules of this room: as of `tidegate.doors`; no process is started here, and files are reached by the session.
"""
