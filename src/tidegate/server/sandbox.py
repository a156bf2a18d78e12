# SPDX-License-Identifier: Apache-2.0
"""The sandbox of the server's process: what it takes away from itself before it has threads or a loop.

Landlock restricts the thread that asks and what that starts, so `enter` comes first in the life of a server.
Which directories there are is told by the configuration alone (ADR 0070): `sandbox_places` says the same to
the server, to `check` and to whoever gives a home to an account.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from tidegate.confinement import landlock
from tidegate.confinement.environment import hide_environment
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded

LEAST_VERSION: Final = 2
"""Of Landlock: the first that lets files be renamed from one directory to another."""

HOST: Final = (
    "/etc", "/proc", "/sys/fs/cgroup", "/sys/devices/system",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/secrets", "/var/run/secrets",
)  # fmt: skip
"""Read by a server on its host: authorities of TLS, names of hosts and users, time zones, limits. Whole
directories, because their files are replaced while the server runs."""

CREDENTIALS: Final = (".aws", ".azure", ".config/gcloud")
"""Below the home of the server's user; libraries of object storage look there."""

FILE_VARIABLES: Final = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_FEDERATED_TOKEN_FILE", "CREDENTIALS_DIRECTORY", "RESOLV_CONF", "TZDIR",
)  # fmt: skip
"""Variables that name files or directories for libraries."""

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

FILES: Final = re.compile(r"(?:file|path|paths|cert|key|keys|certificates|lists|databases|moduli)$")
"""Ends of names of settings whose value may be a file or directory that is read."""
PROGRAMS: Final = re.compile(r"(?:hook|program|command|commands)$")
"""The same for programs; of a list with arguments all that are files are taken."""

CHANGE: Final = landlock.CHANGE | landlock.MAKE_SOCK | landlock.MAKE_FIFO


@dataclass(frozen=True, slots=True)
class Places:
    """Files and directories that a sandbox leaves, as real paths.

    Attributes:
        homes: directories that may be or hold homes and mapped folders.
        writable: directories that are read and changed, those of `homes` too; nothing in them is executed.
        readable: files and directories that are read and executed.
        programs: files inside `writable` that are executed all the same.
    """

    homes: tuple[str, ...]
    writable: tuple[str, ...]
    readable: tuple[str, ...]
    programs: tuple[str, ...] = ()

    def refusal(self, path: str, *, links: bool = True) -> str | None:
        """The reason why a directory cannot be a home or mapped folder, None if it can.

        Args:
            path: absolute.
            links: judge where links lead now (blocks); else the path as it is written.
        """
        place = os.path.realpath(path) if links else os.path.normpath(path)
        if any(_within(place, one) for one in self.homes):
            return None
        return (
            "is outside the sandbox of the server; list it, or a directory above it, in sandbox.writable, "
            "and restart the server"
        )


def sandbox_places(loaded: Loaded, log_file: str = "") -> Places | None:
    """The places that a server of this configuration keeps; None if it makes no sandbox. Blocks.

    Args:
        loaded: the configuration.
        log_file: absolute; empty or ``-`` is no file.

    Raises:
        ConfigError: something in the list of settings is not there.
    """
    keys = loaded.settings.sandbox
    if keys.mode == "off" or (keys.mode == "auto" and landlock_version() < LEAST_VERSION):
        return None
    missing = [
        Problem(f"sandbox.{name}", f"{path} is not there")
        for name in ("writable", "readable")
        for path in getattr(keys, name)
        if not os.path.exists(path)
    ]
    if missing:
        raise ConfigError(missing)
    if os.path.realpath(loaded.config_dir) == "/":
        what = "the configuration directory is /, so nothing would be kept out"
        raise ConfigError([Problem("sandbox.mode", what)])
    base = loaded.settings.data_provider.users_base_dir
    homes = _real([str(loaded.config_dir), *([base] if base else []), *keys.writable])
    writable = _outermost((*homes, *_real(_working(loaded, log_file))))
    programs: list[str] = []
    readable = [*landlock.SYSTEM, *HOST, *_python(), *_variables(), *keys.readable]
    for name, path in _named(loaded.settings):
        real = os.path.realpath(path)
        for one in (path, real):  # both, as a link of Let's Encrypt and what it leads to
            above = os.path.dirname(one)
            if os.path.isdir(one) or above == "/" or any(_within(place, above) for place in writable):
                readable.append(one)
            elif not any(_within(above, place) for place in writable):
                readable.append(above)  # whoever changes a file often puts another in its place
        if PROGRAMS.search(name) and any(_within(real, place) for place in writable):
            programs.append(real)
    return Places(homes, writable, _real(readable), tuple(programs))


def landlock_version() -> int:
    """The version of Landlock here; 0 without."""
    return landlock.version() if sys.platform == "linux" else 0


_entered: list[tuple[bool, str]] = []


def entered() -> tuple[bool, str]:
    """True if this process is in no sandbox though it was to be, and a sentence about its sandbox."""
    return _entered[-1] if _entered else (False, "this process is in no sandbox (sandbox.mode)")


def enter(loaded: Loaded, log_file: str = "") -> list[tuple[bool, str]]:
    """Take away from this process, for good, what the configuration says; before threads are made.

    Returns lines for the log, with True for a warning. Directories for homes and dumps are made.

    Raises:
        ConfigError: it has to be done and cannot be.
    """
    keys = loaded.settings.sandbox
    if sys.platform != "linux":
        if keys.mode == "on":
            raise ConfigError([Problem("sandbox.mode", "there are sandboxes on Linux only")])
        return []
    hide_environment()
    if not keys.core_dumps:
        _forbid_core_dumps()
    if keys.no_new_privileges:
        landlock.forbid_new_privileges()
    found = landlock.version()
    if keys.mode != "off" and found < LEAST_VERSION:
        what = "this system has no Landlock of version 2 or later (Linux 5.19), or it is switched off"
        if keys.mode == "on":
            raise ConfigError([Problem("sandbox.mode", what)])
        _entered.append((True, f"there is no sandbox: {what}"))
        return _entered[-1:]
    places = sandbox_places(loaded, log_file)
    if places is None:
        return []
    if len(os.listdir("/proc/self/task")) > 1:
        raise ConfigError([Problem("sandbox.mode", "something has started threads before the sandbox")])
    try:
        base = os.path.realpath(loaded.settings.data_provider.users_base_dir or "/")
        for path in places.writable:  # a rule needs something that is there
            os.makedirs(path, mode=0o755 if path == base else 0o700, exist_ok=True)
        _restrict(places, found)
    except OSError as error:
        raise ConfigError(
            [Problem("sandbox.mode", f"{error.filename or 'the system'}: {error.strerror}")]
        ) from None
    _entered.append((False, f"sandbox: Landlock {found}; homes and folders below {', '.join(places.homes)}"))
    return _entered[-1:]


def _restrict(places: Places, found: int) -> None:
    ruleset = landlock.Ruleset(found, network=False, scopes=landlock.SCOPE_SIGNALS)
    ruleset.allow_paths(places.writable, CHANGE)
    ruleset.allow_paths((*places.readable, *places.programs), landlock.READ | landlock.EXECUTE)
    ruleset.allow_paths(DEVICES, landlock.READ_FILE | landlock.WRITE_FILE | landlock.IOCTL_DEV)
    ruleset.enforce()


def _forbid_core_dumps() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    landlock.set_undumpable()


def _working(loaded: Loaded, log_file: str) -> Iterator[str]:
    """Directories that the server changes, besides those of homes."""
    provider = loaded.settings.data_provider
    yield tempfile.gettempdir()
    if log_file not in ("", "-"):
        yield os.path.dirname(log_file)
    if provider.backups_path:
        yield str(loaded.resolve(provider.backups_path))
    if quarantine := loaded.settings.inspection.quarantine.directory:
        yield str(loaded.resolve(quarantine))
    if provider.driver in ("sqlite", "bolt") and provider.name:
        yield str(loaded.resolve(provider.name).parent)
    for sink in loaded.settings.events.sinks:
        if sink.use == "file" and isinstance(path := sink.options.get("path"), str):
            yield str(loaded.resolve(path).parent)


def _python() -> Iterator[str]:
    """Directories of this Python and of the installed packages."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix)
    yield os.path.dirname(os.path.realpath(sys.executable))
    yield from (path for path in sys.path if os.path.isabs(path))


def _variables() -> Iterator[str]:
    home = os.path.expanduser("~")
    if os.path.isabs(home) and home != "/":
        yield from (os.path.join(home, name) for name in CREDENTIALS)
    yield from (path for name in FILE_VARIABLES if os.path.isabs(path := os.environ.get(name, "")))


def _named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Settings that name something absolute that is there, with their last name."""
    if isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _named(getattr(value, field), field)
    elif isinstance(value, dict):
        for field, one in value.items():
            yield from _named(one, str(field))
    elif isinstance(value, list):
        for one in value:
            yield from _named(one, name)
    elif (
        isinstance(value, str)
        and value.startswith("/")
        and (FILES.search(name) or PROGRAMS.search(name))
        and "\0" not in value
        and os.path.exists(value)
    ):
        yield name, value


def _outermost(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the paths that lie in no other one."""
    return tuple(path for path in paths if not any(path != one and _within(path, one) for one in paths))


def _real(paths: Iterator[str] | list[str]) -> tuple[str, ...]:
    """Real paths, each once; never the root directory."""
    return tuple(path for path in dict.fromkeys(map(os.path.realpath, paths)) if path != "/")


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(f"{parent}/")
