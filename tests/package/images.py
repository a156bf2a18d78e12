# SPDX-License-Identifier: Apache-2.0
"""Recipes of images, and what an image that was made of one has to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.package.conftest import ROOT, run
from tests.package.systems import System, transfer

RECIPES = ROOT / "deploy" / "image"


def steps(recipe: Path) -> list[tuple[str, str]]:
    """Instruction and argument; continued lines are one."""
    text = recipe.read_text(encoding="utf-8").replace("\\\n", "")
    return [
        (word, rest.strip())
        for line in text.splitlines()
        if line and not line.startswith("#")
        for word, _, rest in [line.partition(" ")]
    ]


@dataclass(frozen=True)
class Start:
    """The user, volumes, health check, entry point with command, and variables that an engine starts an image with."""

    user: str
    volumes: list[str]
    health: list[str]
    command: list[str]
    environment: Mapping[str, str]

    @classmethod
    def of_recipe(cls, recipe: Path) -> Start:
        """By the instructions of the last stage."""
        asked = dict(steps(recipe))
        return cls(
            user=asked["USER"],
            volumes=json.loads(asked["VOLUME"]),
            health=json.loads(re.sub(r"^.*?CMD ", "", asked["HEALTHCHECK"])),
            command=json.loads(asked["ENTRYPOINT"]) + json.loads(asked["CMD"]),
            environment={},
        )


def serves_as_image(root: Path, start: Start, tmp_path: Path, *, network: bool = True) -> None:
    """Healthy and moving files with a root that cannot be written but for volumes and /tmp, as the Compose file has it.

    Args:
        root: the image's files.
        start: its user, command and all else that it is started with.
        tmp_path: of the test.
        network: False asks for its health in a network of its own, where the usual ports are free.
    """
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    shutil.copy(tmp_path / "key.pub", root / "key.pub")
    (root / "key.pub").chmod(0o644)
    user, variables = start.user, start.environment
    image = System(root, read_only=("/tmp", *start.volumes))
    for place in start.volumes:
        image.run("test", "-w", place, user=user)
    image.run("sh", "-c", "! touch /usr/lib/tidegate/x /etc/tidegate/x /x 2>/dev/null", user=user)
    ask = " ".join(start.health[:2]) + f' "{start.health[2]}"'
    healthy = (
        f"{' '.join(start.command)} & "
        f"for i in $(seq 300); do {ask} 2>/dev/null && break; sleep 0.1; done; "
        f"{ask}; code=$?; kill $!; wait $!; exit $code"
    )
    alone = System(root, read_only=("/tmp", *start.volumes), network=network)
    alone.run("sh", "-c", healthy, user=user, **{**variables, "TIDEGATE_SFTPD__BINDINGS__0__PORT": "12022"})

    program, state = start.command[0], start.command[start.command.index("--config-dir") + 1]
    add = (program, "user", "add", "ada", "-c", state, "-g", "/:*", "-k", "/key.pub")
    image.run(*add, user=user, **variables)
    transfer(image, tuple(start.command), tmp_path, **{**variables, "TIDEGATE_HTTPD__BINDINGS": "[]"})
    assert (root / "srv/sftp/ada/up").read_bytes() == (tmp_path / "up").read_bytes()
