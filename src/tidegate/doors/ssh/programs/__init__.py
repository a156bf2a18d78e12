# SPDX-License-Identifier: Apache-2.0
"""System programs that clients run over SSH: git and rsync, confined to the directories they are about.

A command line is parsed here and never by a shell (`git_command`, `rsync_command`), the vfs decides whether
the whole program may do on those directories what it could do (`tidegate.vfs.programs`), and the program is
started by `confine`, a script of its own, where it reaches nothing else.
"""
