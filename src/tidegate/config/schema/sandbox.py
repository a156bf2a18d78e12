# SPDX-License-Identifier: Apache-2.0
"""Section ``sandbox``: the reach of the server's own process."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from tidegate.config.schema.base import Section, key


class SandboxKeys(Section):
    """Rights that the server gives up at its start."""

    mode: Literal["off", "auto", "on"] = key(
        "off",
        "Have the kernel (Landlock, Linux 5.19) keep the server, and all programs that it starts, in the "
        "directories of the configuration, of homes (`data_provider.users_base_dir`) and of these lists: "
        "`on` does not start where that cannot be done, `auto` starts and warns. Homes elsewhere are "
        "refused. It cannot be changed while the server runs.",
    )
    writable: list[str] = key(
        [],
        "Further directories (absolute) that may be read and changed: homes and mapped folders outside "
        "`data_provider.users_base_dir`, places where programs of hooks write.",
    )
    readable: list[str] = key(
        [],
        "Further files and directories (absolute) that may be read and executed, for instance of programs of "
        "hooks.",
    )
    no_new_privileges: bool = key(
        True,
        "Programs that the server starts get no rights by set-user-id bits, so `sudo` in a hook fails; the "
        "sandbox needs it.",
    )
    core_dumps: bool = key(
        False,
        "Let a crash leave a core dump, and debuggers of the same user look into the process; its memory "
        "holds secrets.",
    )

    @field_validator("writable", "readable")
    @classmethod
    def _absolute(cls, paths: list[str]) -> list[str]:
        for path in paths:
            if not path.startswith("/") or "\0" in path or path.strip("/") in ("", "."):
                raise ValueError(f"expected absolute paths below /, got {path!r}")
        return paths
