# SPDX-License-Identifier: Apache-2.0
"""A real nginx or Apache on loopback with a file of `examples/reverse-proxy`, in front of a server."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import needs
from tests.support.running import wait_for

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tidegate-tests")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "reverse-proxy"
APACHE_MODULES = Path("/usr/lib/apache2/modules")
MODULES = (
    *("mpm_event", "authn_core", "authz_core", "ssl", "env", "headers", "reqtimeout"),
    *("proxy", "proxy_http", "auth_digest", "authn_file", "authz_user"),
)


def program(name: str) -> str:
    """The path of a program, installed or unpacked by `.ci/run`; without it the test ends."""
    unpacked = [CACHE / name / part / name for part in ("usr/sbin", "usr/bin")]
    found = next((str(path) for path in unpacked if path.exists()), None)
    return needs.program(name) or found or needs.absent(name)


def replaced(text: str, words: Mapping[str, str]) -> str:
    """A text of an example with this machine's ports and files; each word must be there."""
    for old, new in words.items():
        assert old in text, f"{old!r} is not in the example"
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(directory: Path, port: int, words: Mapping[str, str], *, inside: str = "") -> Iterator[None]:
    """nginx with the example's file.

    Args:
        directory: for its files.
        port: that it listens on.
        words: what is replaced in the example.
        inside: more for its ``server`` block.
    """
    site = (EXAMPLE / "nginx.conf").read_text()
    site = replaced(site, {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", **words})
    site = site[: site.rindex("}")] + inside + "}\n"
    (directory / "site.conf").write_text(site)
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {directory}/pid;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include {directory}/site.conf;\n}}\n"
    )
    words_ = [program("nginx"), "-p", str(directory), "-e", "errors", "-c", f"{directory}/nginx.conf"]
    with _served(words_, directory, port):
        yield


@contextlib.contextmanager
def apache(directory: Path, port: int, words: Mapping[str, str]) -> Iterator[None]:
    """Apache with the example's file; arguments as those of `nginx`."""
    if not APACHE_MODULES.is_dir():
        needs.absent("apache2")
    site = (EXAMPLE / "apache.conf").read_text()
    listens = {"Listen 443": f"Listen 127.0.0.1:{port}", "VirtualHost *:443": f"VirtualHost *:{port}"}
    (directory / "site.conf").write_text(replaced(site, {**listens, **words}))
    loaded = "".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in MODULES)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (directory / "apache.conf").write_text(
        f"ServerRoot {directory}\nPidFile {directory}/pid\nDefaultRuntimeDir {directory}\nErrorLog {directory}/errors\n"
        f"ServerName localhost\n{loaded}{user}StartServers 1\nInclude {directory}/site.conf\n"
    )
    with _served([program("apache2"), "-f", f"{directory}/apache.conf", "-D", "FOREGROUND"], directory, port):
        yield


@contextlib.contextmanager
def _served(words: list[str], directory: Path, port: int) -> Iterator[None]:
    def errors() -> str:
        found = directory / "errors"
        return found.read_text() if found.exists() else ""

    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, cwd=directory)
    try:
        wait_for(
            lambda: process.poll() is not None or listens(port),
            f"{words[0]} does not listen: {errors()}",
            30,
        )
        assert process.poll() is None, f"{(directory / 'output').read_text()} {errors()}"
        yield
    finally:
        process.terminate()
        process.wait(20)
    assert "[emerg]" not in errors(), errors()


def listens(port: int) -> bool:
    """True if somebody listens on a port of 127.0.0.1; nobody is connected to."""
    wanted = f" 0100007F:{port:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines():
        if wanted in line and line.split()[3] == "0A":
            return True
    return False
