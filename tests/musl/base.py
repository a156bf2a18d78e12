# SPDX-License-Identifier: Apache-2.0
"""Imitations of what the recipe of the Alpine image takes from elsewhere: its base image, Alpine's packages, an index.

No registry of images and none of Alpine's packages is reached where the tests run. `MADE` holds what was made by hand as
docs/adr/0086 says: `python` (CPython installed there, linked to musl), `musl` (Debian's packages musl and musl-dev,
unpacked) and `busybox` (linked to musl).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from pathlib import Path

from tests.package.conftest import ROOT, run

MADE = Path(
    os.environ.get("TIDEGATE_MUSL")
    or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tidegate-tests", "musl")
)
ARCH = platform.machine()
LOADER = f"/lib/ld-musl-{ARCH}.so.1"
EMPTY = (
    "bin",
    "sbin",
    "lib",
    "root",
    "proc",
    "dev",
    "sys",
    "srv",
    "var/lib",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
    "etc/shadow": "root:*::0:::::\nnobody:!::0:::::\n",
    # As apk for the packages of the recipe, which are in /packages while the image is built; refuses any other.
    "sbin/apk": """#!/bin/sh
test "$1 $2" = "add --no-cache" || { echo "not imitated: apk $*"; exit 1; }
shift 2
for name; do
  test -d "/packages/$name" || { echo "not imitated: $name"; exit 1; }
  tar -c -C "/packages/$name" . | tar -x -C /
done
""",
}
PIP = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\nroot-user-action = ignore\n"
EXTRAS = "s3,azure,geoip,dnsbl,otel"
SPECS = """
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem {include} -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem {include} -isystem include%s

*link_libgcc:
-L{lib} -L .%s

*libgcc:
libgcc.a%s %:if-exists(libgcc_eh.a%s)

*startfile:
%{{!shared: {lib}/Scrt1.o}} {lib}/crti.o crtbeginS.o%s

*endfile:
crtendS.o%s {lib}/crtn.o

*link:
-dynamic-linker {loader} -nostdlib %{{shared:-shared}} %{{static:-static}} %{{rdynamic:-export-dynamic}}

"""
"""Of gcc: headers, libraries and loader of musl in place of glibc's, as musl's own musl-gcc.specs has it."""


def make_root(place: Path) -> None:
    """The root directory of the base image: BusyBox, and Python under /usr/local without compiled modules."""
    for name in EMPTY:
        (place / name).mkdir(parents=True)
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    for name, text in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    (place / "sbin/apk").chmod(0o755)
    (place / "etc/shadow").chmod(0o640)
    shutil.copy(next(MADE.glob("musl/usr/lib/*/libc.so")), place / LOADER.lstrip("/"))
    with_loader(MADE / "busybox", place / "bin/busybox")
    local = place / "usr/local"
    shutil.copytree(MADE / "python", local, symlinks=True, ignore=shutil.ignore_patterns("*.pyc"))
    for program in (local / "bin").glob("python3.*[0-9]"):
        with_loader(program, program)
    (built,) = local.glob("lib/python3.*/_sysconfigdata_*.py")
    text = re.sub(r"'[^' ]*/cc(?=[ '])", "'gcc", built.read_text())
    built.write_text(text.replace(str(MADE / "python"), "/usr/local"))
    run("chroot", place, "/bin/busybox", "--install", "-s")


def with_loader(program: Path, target: Path) -> None:
    """A copy of a program with the loader's usual path in place of the one of the place it was built in."""
    content = program.read_bytes()
    found = re.search(rb"/[^\0]*/ld-musl-[^\0]*\0+", content)
    assert found is not None, program
    assert len(found[0]) > len(LOADER)
    mode = program.stat().st_mode
    target.unlink(missing_ok=True)
    target.write_bytes(content.replace(found[0], LOADER.encode().ljust(len(found[0]), b"\0"), 1))
    target.chmod(mode & 0o777)


def make_packages(place: Path) -> None:
    """Alpine's `gcc`, `musl-dev` and `patch`, of this machine's programs (with their glibc) and Debian's musl-dev."""
    triple = f"{ARCH}-linux-musl"
    include, lib = f"usr/include/{triple}", f"usr/lib/{triple}"
    for name in (include, lib):
        shutil.copytree(MADE / "musl" / name, place / "musl-dev" / name)
    own = Path(run("gcc", "-print-libgcc-file-name").strip()).parent
    driver = Path(shutil.which("gcc") or "gcc").resolve()
    data = [own / one for one in ("collect2", "liblto_plugin.so", "libgcc.a", "libgcc_eh.a")]
    data += own.glob("crt*.o")
    unpack(
        place / "gcc",
        data,
        [driver, own / "cc1", own / "lto-wrapper", Path("/usr/bin/as"), Path("/usr/bin/ld")],
    )
    shutil.copytree(own / "include", place / "gcc" / str(own / "include").lstrip("/"))
    specs = SPECS.format(include=f"/{include}", lib=f"/{lib}", loader=LOADER)
    (place / "gcc/usr/lib/musl.specs").write_text(specs)
    wrapper = place / "gcc/usr/bin/gcc"
    wrapper.write_text(f'#!/bin/sh\nexec {driver} "$@" -specs /usr/lib/musl.specs\n')
    wrapper.chmod(0o755)
    unpack(place / "patch", [], [Path("/usr/bin/patch")])


def unpack(package: Path, data: list[Path], programs: list[Path]) -> None:
    """Files of this machine, and the libraries that its programs load, at their own paths below a directory."""
    loaded = [one for path in programs for one in re.findall(r"(/\S+) \(0x", run("ldd", path))]
    for source in {*data, *programs, *map(Path, loaded)}:
        inside = package / str(source).lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, inside)


def fetch(place: Path) -> Path:
    """Fetches all that pip would take from the index while the image is built; returns the wheel of this tree.

    pip runs under the Python for musl, whose answer it is which wheels fit; lmdb comes as a source archive.
    """
    environment = place / "environment"
    run(MADE / "python/bin/python3", "-m", "venv", "--without-pip", environment)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", place, ROOT)
    (ours,) = place.glob("tidegate-*.whl")
    download = (*pip, "--python", environment / "bin/python", "download", "--dest", place)
    pinned = ("--constraint", ROOT / "constraints.txt", "--find-links", place)
    run(*download, *pinned, "--no-deps", "--no-binary", "lmdb", "lmdb")
    only = ("--only-binary", ":all:", "--no-binary", "lmdb")
    run(*download, *pinned, *only, f"tidegate[{EXTRAS}] @ {ours.as_uri()}")
    # To build lmdb.
    run(*pip, "wheel", "--no-deps", "--wheel-dir", place, "patch-ng")
    run(*download, *only, "setuptools", "wheel", "cffi")
    shutil.rmtree(environment)
    return ours
