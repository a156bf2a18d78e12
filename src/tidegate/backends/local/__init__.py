# SPDX-License-Identifier: Apache-2.0
"""Files on disks of this host.

One concern a module: `root` and `walk` contain, `opening` and `uploads` publish, `files` are the handles,
`listing` lists, `links` and `attrs` do what their names say, `device` decides inline or thread, `journal`
remembers temporaries, `errors` translates errno, `operations` are the blocking halves, and `backend` is the
contract put together.

Rules of this room: those of `tidegate.backends`; no path string of a user is ever joined to the root's, and
nothing follows a link but `root`.
"""

from tidegate.backends.local.backend import LocalBackend
from tidegate.backends.local.device import DEFAULT_WORKERS, Devices
from tidegate.backends.local.journal import Swept, sweep_journal

__all__ = ["DEFAULT_WORKERS", "Devices", "LocalBackend", "Swept", "sweep_journal"]
