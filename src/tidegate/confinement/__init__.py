# SPDX-License-Identifier: Apache-2.0
"""Confinement of processes on Linux: Landlock rules, and the script that confines a program.

`landlock` and `confine` import the standard library only: they also run in a process that has loaded nothing
of ours.
"""
