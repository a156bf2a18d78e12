# SPDX-License-Identifier: Apache-2.0
"""The image's recipe, its steps run in a minimal Debian: no engine for containers runs where the tests run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.package.conftest import ROOT, Release, run
from tests.package.systems import System, transfer
from tests.support.command_line import tidegate

from tidegate import __version__

RECIPE = ROOT / "deploy" / "image" / "Dockerfile"


def steps() -> list[tuple[str, str]]:
    """Instruction and argument; continued lines are one."""
    text = RECIPE.read_text(encoding="utf-8").replace("\\\n", "")
    return [
        (word, rest.strip())
        for line in text.splitlines()
        if line and not line.startswith("#")
        for word, _, rest in [line.partition(" ")]
    ]


@pytest.mark.needs("debootstrap", "chroot", "unshare", "sftp", "ssh-keygen")
def test_the_steps_of_the_image_make_a_system_that_is_healthy_and_moves_files(
    release: Release, system: System, tmp_path: Path
) -> None:
    root, user = system.place, "root"
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    asked: dict[str, str] = {}
    for word, rest in steps():
        if word == "COPY":
            pattern, target = rest.split()
            (found,) = release.place.glob(pattern)
            shutil.copy(found, root / target.lstrip("/"))
        elif word == "RUN":
            system.run("sh", "-c", rest, user=user)
        elif word == "USER":
            user = rest
        else:
            asked[word] = rest
    assert not list(root.glob("tmp/*.deb"))
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    shutil.copy(tmp_path / "key.pub", root / "key.pub")
    (root / "key.pub").chmod(0o644)

    # As the Compose file has it run: nothing can be written but volumes and /tmp.
    volumes = json.loads(asked["VOLUME"])
    image = System(root, read_only=("/tmp", *volumes))
    for place in volumes:
        image.run("test", "-w", place, user=user)
    image.run("sh", "-c", "! touch /usr/lib/tidegate/x /etc/tidegate/x /x 2>/dev/null", user=user)
    program, command = json.loads(asked["ENTRYPOINT"]), json.loads(asked["CMD"])
    health = json.loads(re.sub(r"^.*?CMD ", "", asked["HEALTHCHECK"]))
    started = (
        f"{' '.join(program + command)} & "
        "for i in $(seq 300); do "
        f'{" ".join(health[:2])} "{health[2]}" 2>/dev/null && break; sleep 0.1; done; '
        f'{" ".join(health[:2])} "{health[2]}"; code=$?; kill $!; wait $!; exit $code'
    )
    image.run("sh", "-c", started, user=user, TIDEGATE_SFTPD__BINDINGS__0__PORT="12022")

    add = ("user", "add", "ada", "-c", volumes[0], "-g", "/:*", "-k", "/key.pub")
    image.run(*program, *add, user=user)
    transfer(image, (*program, *command), tmp_path, TIDEGATE_HTTPD__BINDINGS="[]")
    assert (root / "srv/sftp/ada/up").read_bytes() == (tmp_path / "up").read_bytes()


def test_the_variables_of_the_compose_file_are_settings(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "deploy" / "image" / "compose.yaml").read_text(encoding="utf-8"))[
        "services"
    ]
    environment = services["tidegate"]["environment"]
    assert services["tidegate"]["image"] == f"tidegate:{__version__}"

    shown = tidegate("config", "show", "--changed", "-c", tmp_path, environ=environment)

    assert (shown.code, shown.err) == (0, "")
    for text in ("postgresql", "database", "5432", "0.0.0.0"):
        assert text in shown.out
