# SPDX-License-Identifier: Apache-2.0
"""The composition root: configuration in, a running server out.

`app` makes every object and hands it down; `wiring` turns settings into the options of each room; `doors`
holds the doors of a server, `door_table` lists ours, `ssh` and `http` make them, `other_doors` finds those of
other packages; `provider_start`, `sinks` and `files` prepare what doors need. `run` is the life of the
``serve`` process; `portable`, `quickstart` and `first_admin` are other ways to begin.

Rules of this room: it may import every room but `cli`, which alone imports it.
"""
