# SPDX-License-Identifier: Apache-2.0
"""Master keys: from texts and programs, and what is derived from them.

No error repeats anything of a key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidegate.errors import ConfigError, Problem

KEY_BYTES: Final = 32
"""Length of a master key."""
LEAST_PASSPHRASE: Final = 16
"""Characters that a passphrase has at least."""
COMMAND_SECONDS: Final = 10.0
"""Time that a command has to print a key."""
COMMAND_BYTES: Final = 4096
"""Output of a command, and content of a key file, at most."""
SCRYPT_N: Final = 2**17
"""Cost of stretching a passphrase (RFC 7914): 128 MiB for about half a second, once in a process."""
_SCRYPT_R: Final = 8
_SCRYPT_SALT: Final = b"tidegate master key 1"
"""The same everywhere: the key must come out the same on every server and before any database is open."""
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master key.

    Attributes:
        id: 16 hexadecimal digits that name it and tell nothing of it.
        wrapping: the key that wraps data keys; 32 bytes.
        form: form in which it was given, for operators: ``32 bytes of hex``.
    """

    id: str
    wrapping: bytes = field(repr=False)
    form: str = field(default="", compare=False)


def from_bytes(raw: bytes, form: str) -> MasterKey:
    """The master key of 32 bytes (HKDF-SHA256, RFC 5869)."""
    name = HKDF(SHA256(), 8, salt=None, info=b"tidegate secrets 1 id").derive(raw)
    wrapping = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"tidegate secrets 1 wrap").derive(raw)
    return MasterKey(name.hex(), wrapping, form)


def from_text(text: str, label: str) -> MasterKey:
    """The master key that a text stands for: 64 hexadecimal digits, base64 of 32 bytes, or a passphrase.

    Args:
        text: white space around it does not count.
        label: where it comes from, for errors.

    Raises:
        ConfigError: it is empty, or too short to be any of them.
    """
    text = text.strip()
    if _HEX.fullmatch(text):
        return from_bytes(binascii.unhexlify(text), "32 bytes, in hex")
    if _BASE64.fullmatch(text):
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        return from_bytes(base64.b64decode(f"{plain}="), "32 bytes, in base64")
    if len(text) < LEAST_PASSPHRASE:
        what = (
            "is empty" if not text else f"is shorter than {LEAST_PASSPHRASE} characters"
        ) + "; a key is 32 bytes in hex or base64 (openssl rand -hex 32), or a passphrase"
        raise ConfigError([Problem(label, what)])
    stretched = hashlib.scrypt(
        text.encode(), salt=_SCRYPT_SALT, n=SCRYPT_N, r=_SCRYPT_R, p=1, maxmem=256 * 1024**2, dklen=KEY_BYTES
    )
    return from_bytes(stretched, "stretched from a passphrase by scrypt")


def from_file(path: Path, label: str) -> MasterKey:
    """The master key in a file: a text as `from_text` takes it, or 32 bytes that are none. Blocks.

    Raises:
        ConfigError: the file cannot be read, or holds no key.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(COMMAND_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(label, f"{path}: {error.strerror}")]) from None
    return _from_output(raw, label, str(path))


def from_command(command: Sequence[str], label: str) -> MasterKey:
    """The master key that a program prints; see `from_file`. Blocks for `COMMAND_SECONDS` at most.

    It is started without a shell, with nothing on standard input and no environment but ``PATH``.

    Raises:
        ConfigError: it cannot be started, fails, takes too long, prints too much, or prints no key.
    """
    program = command[0]
    path = os.environ.get("PATH") or _SYSTEM_PATH
    found = shutil.which(program, path=path)
    if found is None:
        raise ConfigError([Problem(label, f"{program}: no such program")])
    try:
        process = subprocess.Popen(
            [found, *command[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": path},
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError([Problem(label, f"{program}: {error.strerror}")]) from None
    try:
        with process:
            try:
                raw = _printed(process, program, label)
            finally:
                # What the program has started ends with it, and does not keep the pipe open.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
    except OSError as error:
        raise ConfigError([Problem(label, f"{program}: {error.strerror}")]) from None
    return _from_output(raw, label, f"the output of {program}")


def _printed(process: subprocess.Popen[bytes], program: str, label: str) -> bytes:
    assert process.stdout is not None
    deadline = time.monotonic() + COMMAND_SECONDS
    raw = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(raw) <= COMMAND_BYTES:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise _slow(program, label)
            chunk = os.read(process.stdout.fileno(), COMMAND_BYTES + 1)
            if not chunk:
                break
            raw += chunk
    if len(raw) <= COMMAND_BYTES:
        try:
            status = process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            raise _slow(program, label) from None
        if status:
            raise ConfigError([Problem(label, f"{program}: ended with status {status}")])
    return raw


def _slow(program: str, label: str) -> ConfigError:
    return ConfigError([Problem(label, f"{program}: took longer than {COMMAND_SECONDS:.0f} seconds")])


def _from_output(raw: bytes, label: str, place: str) -> MasterKey:
    if len(raw) > COMMAND_BYTES:
        raise ConfigError([Problem(label, f"{place} is longer than {COMMAND_BYTES} bytes")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
        if len(raw) == KEY_BYTES:
            return from_bytes(raw, "32 bytes")
    if not text.isprintable() and not text.strip().isprintable():
        text = ""
    if raw and not text:
        what = f"{place} is neither text nor exactly {KEY_BYTES} bytes"
        raise ConfigError([Problem(label, what)])
    return from_text(text, label)
