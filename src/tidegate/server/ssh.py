# SPDX-License-Identifier: Apache-2.0
"""Makes the SSH door from the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asyncssh import SSHKey

from tidegate.config.load import Loaded
from tidegate.doors.common.door import Apply
from tidegate.doors.ssh.listener import SshDoor
from tidegate.doors.ssh.options import Binding, SshOptions
from tidegate.server.doors import Composition, DoorPlan, InstalledDoor
from tidegate.server.wiring import ssh_options


def ssh_plan(binding: Binding | None = None, memory_keys: Sequence[SSHKey] = ()) -> DoorPlan:
    """The SSH door.

    Args:
        binding: where to listen, whatever the configuration says; port 0 takes a free one.
        memory_keys: host keys used instead of files; each reload takes those that it holds then.
    """

    def options(loaded: Loaded) -> SshOptions:
        made = replace(ssh_options(loaded), memory_keys=tuple(memory_keys))
        return made if binding is None else replace(made, bindings=(binding,))

    async def create(composition: Composition, loaded: Loaded) -> InstalledDoor:
        door = SshDoor(
            options(loaded),
            composition.identity,
            composition.sessions,
            composition.bus,
            composition.registry,
            ledger=composition.ledger,
        )

        async def reload(fresh: Loaded) -> Apply:
            return await door.reload(options(fresh))

        return InstalledDoor(door, reload)

    return DoorPlan("ssh", lambda loaded: bool(options(loaded).bindings), create)
