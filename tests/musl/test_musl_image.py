# SPDX-License-Identifier: Apache-2.0
"""The recipe of the Alpine image, built by buildah on an imitated base, started as an engine starts it, and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.musl.base import MADE, PIP, fetch, make_packages, make_root
from tests.package.conftest import ROOT, run
from tests.package.images import RECIPES, Start, serves_as_image
from tests.package.systems import System
from tests.support.needs import absent

RECIPE = RECIPES / "Dockerfile.alpine"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9)}
NEEDED = (
    "asyncmy",
    "psycopg",
    "lmdb",
    "uvloop",
    "aiobotocore",
    "azure.storage.blob",
    "maxminddb",
    "dns.resolver",
)

pytestmark = pytest.mark.needs(
    "buildah", "unshare", "chroot", "ip", "gcc", "patch", "readelf", "sftp", "ssh-keygen"
)


@dataclass(frozen=True)
class Image:
    """A built image: its files, and how it is started."""

    files: Path
    start: Start


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The recipe, built in a store of its own."""
    if os.geteuid() != 0:
        absent("root")
    if not (MADE / "python").is_dir():
        absent(f"Python for musl in {MADE}")
    place = tmp_path_factory.mktemp("image")
    make_root(place / "base")
    make_packages(place / "packages")
    context = place / "context"
    for name in ("dist", "deploy/debian"):
        (context / name).mkdir(parents=True)
    (place / "wheels").mkdir()
    shutil.copy(fetch(place / "wheels"), context / "dist")
    for name in ("constraints.txt", "deploy/debian/tidegate.toml"):
        shutil.copy(ROOT / name, context / name)
    (place / "pip.conf").write_text(PIP)
    given = {"packages": "/packages", "wheels": "/wheels", "pip.conf": "/etc/pip.conf"}
    volumes = [f"--volume={place / ours}:{theirs}:ro" for ours, theirs in given.items()]

    base = buildah(place, "from", "scratch")
    buildah(place, "copy", "-q", base, place / "base", "/")
    buildah(place, "config", "--env", f"PATH={PATH}", base)
    buildah(place, "commit", "-q", base, "localhost/base")
    # Docker's format: the other one has no health check.
    recipe = ("--format", "docker", "--build-arg", "BASE=localhost/base", "-f", RECIPE)
    buildah(place, "bud", "-q", *recipe, *volumes, "-t", "localhost/tidegate", context)
    asked = json.loads(buildah(place, "inspect", "--type", "image", "localhost/tidegate"))["Docker"]["config"]
    files = Path(buildah(place, "mount", buildah(place, "from", "localhost/tidegate")))
    for name, (major, minor) in DEVICES.items():  # as engines do
        os.mknod(files / "dev" / name, stat.S_IFCHR, os.makedev(major, minor))
        (files / "dev" / name).chmod(0o666)
    start = Start(
        user=asked["User"],
        volumes=list(asked["Volumes"]),
        health=asked["Healthcheck"]["Test"][1:],
        command=asked["Entrypoint"] + asked["Cmd"],
        environment=dict(one.split("=", 1) for one in asked["Env"]),
    )
    yield Image(files, start)
    buildah(place, "umount", "--all")
    buildah(place, "rm", "--all")
    shutil.rmtree(place)


def buildah(place: Path, *words: str | Path) -> str:
    """Without a daemon, and with nothing that is kept elsewhere."""
    store = ("--root", place / "store", "--runroot", place / "run")
    return run("buildah", *store, *words, env={**os.environ, "BUILDAH_ISOLATION": "chroot"}).strip()


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def test_the_image_is_healthy_and_moves_files(image: Image, tmp_path: Path) -> None:
    serves_as_image(image.files, image.start, tmp_path, network=False)


def test_the_image_is_started_as_its_recipe_says(image: Image) -> None:
    asked = Start.of_recipe(RECIPE)
    assert sorted(image.start.volumes) == sorted(asked.volumes)
    assert image.start.user == asked.user
    assert (image.start.health, image.start.command) == (asked.health, asked.command)


def test_nothing_of_glibc_and_no_compiler_is_inside(image: Image) -> None:
    wanted: set[str] = set()
    for one in image.files.rglob("*"):
        if one.is_file() and not one.is_symlink() and is_elf(one):
            wanted |= set(re.findall(r"NEEDED.*\[((?:libc|ld)[.-].*)\]", run("readelf", "-d", one)))
    assert wanted
    assert all("musl" in name or name == "libc.so" for name in wanted), wanted
    names = {one.name for one in image.files.rglob("*")}
    assert not names & {"libc.so.6", "gcc", "cc1", "ld", "musl.specs"}
    assert not (image.files / "usr/lib/tidegate/bin/pip").exists()


def test_the_standard_library_is_compiled(image: Image) -> None:
    """The base image has no compiled modules, and a root that cannot be written would never get them."""
    (library,) = (image.files / "usr/local/lib").glob("python3.*")
    assert list((library / "asyncio" / "__pycache__").glob("base_events.*.pyc"))
    assert list((library / "urllib" / "__pycache__").glob("request.*.pyc"))


@pytest.mark.parametrize("name", NEEDED)
def test_a_library_of_an_extra_loads(image: Image, name: str) -> None:
    python = "/usr/lib/tidegate/bin/python"
    System(image.files).run(python, "-c", f"import {name}", user=image.start.user)


def test_psycopg_is_the_compiled_one(image: Image) -> None:
    code = "import psycopg.pq; assert psycopg.pq.__impl__ == 'binary'"
    System(image.files).run("/usr/lib/tidegate/bin/python", "-c", code, user=image.start.user)


def test_lmdb_keeps_what_is_written(image: Image) -> None:
    """The one library that was compiled in the first stage."""
    code = (
        "import lmdb; name = '/tmp/lmdb'\n"
        "with lmdb.open(name) as one, one.begin(write=True) as act: act.put(b'key', b'value')\n"
        "with lmdb.open(name, readonly=True) as one, one.begin() as act: assert act.get(b'key') == b'value'"
    )
    System(image.files).run("/usr/lib/tidegate/bin/python", "-c", code, user=image.start.user)
