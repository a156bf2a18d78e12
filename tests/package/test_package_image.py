# SPDX-License-Identifier: Apache-2.0
"""The image's recipe, its steps run in a minimal Debian: no engine for containers runs where the tests run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from tests.package.conftest import Release
from tests.package.images import RECIPES, Start, serves_as_image, steps
from tests.package.systems import System
from tests.support.command_line import tidegate

from tidegate import __version__

RECIPE = RECIPES / "Dockerfile"


@pytest.mark.needs("debootstrap", "chroot", "unshare", "sftp", "ssh-keygen")
def test_the_steps_of_the_image_make_a_system_that_is_healthy_and_moves_files(
    release: Release, system: System, tmp_path: Path
) -> None:
    root, user = system.place, "root"
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    for word, rest in steps(RECIPE):
        if word == "COPY":
            pattern, target = rest.split()
            (found,) = release.place.glob(pattern)
            shutil.copy(found, root / target.lstrip("/"))
        elif word == "RUN":
            system.run("sh", "-c", rest, user=user)
        elif word == "USER":
            user = rest
    assert not list(root.glob("tmp/*.deb"))
    serves_as_image(root, Start.of_recipe(RECIPE), tmp_path)


def test_the_variables_of_the_compose_file_are_settings(tmp_path: Path) -> None:
    services = yaml.safe_load((RECIPES / "compose.yaml").read_text(encoding="utf-8"))["services"]
    environment = services["tidegate"]["environment"]
    assert services["tidegate"]["image"] == f"tidegate:{__version__}"

    shown = tidegate("config", "show", "--changed", "-c", tmp_path, environ=environment)

    assert (shown.code, shown.err) == (0, "")
    for text in ("postgresql", "database", "5432", "0.0.0.0"):
        assert text in shown.out
