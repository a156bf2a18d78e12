# SPDX-License-Identifier: Apache-2.0
"""The image's recipe, its steps run in a minimal Debian: no engine for containers runs where the tests run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.package.conftest import ROOT, Release
from tests.package.test_package_debian import System, system  # noqa: F401 - fixture
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


@pytest.mark.needs("debootstrap", "chroot", "unshare")
def test_the_steps_of_the_image_make_a_system_that_answers_its_health_check(
    release: Release,
    system: System,  # noqa: F811
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
    program, command = json.loads(asked["ENTRYPOINT"]), json.loads(asked["CMD"])
    for place in json.loads(asked["VOLUME"]):
        system.run("test", "-w", place, user=user)
    health = json.loads(re.sub(r"^.*?CMD ", "", asked["HEALTHCHECK"]))
    started = (
        f"{' '.join(program + command)} & "
        "for i in $(seq 300); do "
        f'{" ".join(health[:2])} "{health[2]}" 2>/dev/null && break; sleep 0.1; done; '
        f'{" ".join(health[:2])} "{health[2]}"; code=$?; kill $!; wait $!; exit $code'
    )
    system.run("sh", "-c", started, user=user, TIDEGATE_SFTPD__BINDINGS__0__PORT="12022")
    assert not list(root.glob("tmp/*.deb"))


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
