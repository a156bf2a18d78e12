# SPDX-License-Identifier: Apache-2.0
"""Lists of revoked certificates, in three forms.

* JSON: a list of fingerprints (``SHA256:...``), as the field's other gateway has it.
* Text: the lines that ``ssh-keygen -k`` reads (KEY REVOCATION LISTS in ssh-keygen(1)): ``serial: 7``,
  ``serial: 7-12``, ``id: name``, ``key: ssh-ed25519 AAAA...``, ``sha256: ssh-ed25519 AAAA...``,
  ``hash: SHA256:...``, blank lines and lines that begin with ``#``. A serial is of any trusted authority.
* The binary form that ``ssh-keygen -k`` writes (PROTOCOL.krl). Serials and key ids are of the authority
  that a section names, or of any if it names none.

A fingerprint revokes a certificate if it is that of the certified key (as ``ssh-keygen -l`` prints it), of
the certificate as a whole, or of its authority.
"""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.accounts.keys import certificate_blob, key_blob, parse_public_key
from tidegate.errors import BadRecord, ConfigError, Problem
from tidegate.identity.certificates.wire import Reader
from tidegate.model.certificate import SshCertificate
from tidegate.nesting import deeper_than

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Longest file of revocations; some 300,000 fingerprints."""
MAX_BITMAP_BITS: Final = 1024 * 1024
"""Serials in one bitmap of the binary form."""
_MAGIC: Final = b"SSHKRL\n\0"
_ANY: Final = b""
"""Authority of what revokes whoever signed it."""


@dataclass(slots=True)
class Revoked:
    """A list of revocations.

    Attributes:
        hashes: SHA-256 digests of keys, certificates and authorities.
        sha1: SHA-1 digests, which only the binary form can hold.
        ids: (authority, key id).
        ranges: by authority, first and last serial; see `sort`.
        serials: (authority, serial).
        bitmaps: by authority, first serial and bits.
    """

    hashes: set[bytes] = field(default_factory=set)
    sha1: set[bytes] = field(default_factory=set)
    ids: set[tuple[bytes, str]] = field(default_factory=set)
    ranges: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    serials: set[tuple[bytes, int]] = field(default_factory=set)
    bitmaps: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)

    def sort(self) -> None:
        """Put the ranges in order and make one of those that meet, so that a login need not look at each."""
        for authority, ranges in self.ranges.items():
            made: list[tuple[int, int]] = []
            for first, last in sorted(ranges):
                if made and first <= made[-1][1] + 1:
                    made[-1] = made[-1][0], max(last, made[-1][1])
                else:
                    made.append((first, last))
            self.ranges[authority] = made

    def __len__(self) -> int:
        more = sum(map(len, self.ranges.values())) + sum(map(len, self.bitmaps.values()))
        return len(self.hashes) + len(self.sha1) + len(self.ids) + len(self.serials) + more

    def why(self, certificate: SshCertificate) -> str:
        """The reason why a certificate is revoked, in a few words; empty if it is not."""
        for what, blob in (
            ("its key is revoked", certificate.key),
            ("it is revoked by its fingerprint", certificate.blob),
            ("its authority is revoked", certificate.authority),
        ):
            if hashlib.sha256(blob).digest() in self.hashes:
                return what
            if self.sha1 and hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1:
                return what
        for authority in (_ANY, certificate.authority):
            if (authority, certificate.key_id) in self.ids:
                return "its key id is revoked"
            if certificate.serial and self._serial(authority, certificate.serial):
                return f"its serial {certificate.serial} is revoked"
        return ""

    def _serial(self, authority: bytes, serial: int) -> bool:
        if (authority, serial) in self.serials:
            return True
        ranges = self.ranges.get(authority, [])
        place = bisect_right(ranges, (serial, 2**64)) - 1
        if place >= 0 and serial <= ranges[place][1]:
            return True
        return any(
            serial >= first and bits >> (serial - first) & 1
            for first, bits in self.bitmaps.get(authority, ())
            if serial - first < MAX_BITMAP_BITS
        )


def parse_revoked(data: bytes, where: str) -> Revoked:
    """The content of a file of revocations.

    Args:
        data: the file.
        where: its name, for problems.

    Raises:
        ConfigError: something in it cannot be read; nothing of it is to be used then.
    """
    found = _parsed(data, where)
    found.sort()
    return found


def _parsed(data: bytes, where: str) -> Revoked:
    if data.startswith(_MAGIC):
        try:
            return _binary(data)
        except BadRecord as error:
            raise ConfigError([Problem(where, f"is no whole key revocation list: {error.what}")]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Problem(where, "is neither UTF-8 text nor a key revocation list")]) from None
    return _json(text, where) if text.lstrip().startswith(("[", "{")) else _lines(text, where)


def _json(text: str, where: str) -> Revoked:
    if deeper_than(text, 4):
        raise ConfigError([Problem(where, "is no JSON list of fingerprints")])
    try:
        listed: Any = json.loads(text)
    except ValueError as error:
        raise ConfigError([Problem(where, f"is no JSON: {error}")]) from None
    if not isinstance(listed, list):
        raise ConfigError([Problem(where, "is no JSON list of fingerprints")])
    found, problems = Revoked(), []
    for index, one in enumerate(listed):
        digest = _digest(one) if isinstance(one, str) else None
        if digest is None:
            problems.append(Problem(f"{where}[{index}]", f"{str(one)[:80]!r} is not SHA256:<43 characters>"))
        else:
            found.hashes.add(digest)
    if problems:
        raise ConfigError(problems)
    return found


def _lines(text: str, where: str) -> Revoked:
    found, problems = Revoked(), []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            try:
                _line(line, found)
            except BadRecord as error:
                problems.append(Problem(f"{where}:{number}", error.what))
    if problems:
        raise ConfigError(problems)
    return found


def _line(line: str, found: Revoked) -> None:
    word, colon, rest = line.partition(":")
    word, rest = word.strip().lower(), rest.strip()
    if line.startswith("SHA256:"):
        word, rest, colon = "hash", line, ":"
    elif not colon or " " in word:
        word, rest = "key", line
    if not rest:
        raise BadRecord("revoked", f"nothing follows {word[:20]!r}")
    if word == "serial":
        first, dash, last = rest.partition("-")
        numbers = [part.strip() for part in ((first, last) if dash else (first, first))]
        if not all(
            part.isascii() and part.isdigit() and len(part) <= 20 and 0 < int(part) < 2**64
            for part in numbers
        ):
            raise BadRecord("revoked", f"{rest[:60]!r} is no serial and no range of serials from 1 on")
        low, high = map(int, numbers)
        if low > high:
            raise BadRecord("revoked", f"{rest[:60]!r} ends before it begins")
        if low == high:
            found.serials.add((_ANY, low))
        else:
            found.ranges.setdefault(_ANY, []).append((low, high))
    elif word == "id":
        found.ids.add((_ANY, rest))
    elif word in ("key", "sha256"):
        found.hashes.add(hashlib.sha256(_blob(rest)).digest())
    elif word == "hash":
        digest = _digest(rest)
        if digest is None:
            raise BadRecord("revoked", f"{rest[:80]!r} is not SHA256:<43 characters>")
        found.hashes.add(digest)
    else:
        raise BadRecord("revoked", f"{word[:20]!r} is none of serial, id, key, sha256, hash")


def _blob(line: str) -> bytes:
    """The wire form of a key or certificate in an OpenSSH line."""
    if line.split(None, 1)[0].endswith("-cert-v01@openssh.com"):
        return certificate_blob(line)
    return key_blob(parse_public_key(line))


def _digest(text: str) -> bytes | None:
    """The 32 bytes of ``SHA256:...``, with or without padding."""
    name, _, rest = text.strip().partition(":")
    rest = rest.rstrip("=")
    if name != "SHA256" or len(rest) != 43:
        return None
    try:
        return base64.b64decode(rest + "=", validate=True)
    except ValueError:
        return None


# -- the binary form -----------------------------------------------------------------------------------


def _binary(data: bytes) -> Revoked:
    reader, found = Reader(data), Revoked()
    reader.uint64()  # the magic
    if (version := reader.uint32()) != 1:
        raise BadRecord("revoked", f"its version is {version}, not 1")
    for _ in range(3):
        reader.uint64()  # version of the list, date, flags
    reader.string()  # reserved
    reader.string()  # comment
    while reader:
        kind, section = reader.byte(), Reader(reader.string())
        if kind == 1:
            _certificates(section, found)
        elif kind == 2:
            while section:
                found.hashes.add(hashlib.sha256(section.string()).digest())
        elif kind == 3:
            while section:
                found.sha1.add(section.string())
        elif kind == 5:
            while section:
                found.hashes.add(section.string())
        elif kind == 255:
            _extension(section)
        elif kind != 4:  # a signature, which nobody checks any more
            raise BadRecord("revoked", f"a section of kind {kind} is not known")
    return found


def _certificates(section: Reader, found: Revoked) -> None:
    authority = section.string()
    section.string()  # reserved
    while section:
        kind, part = section.byte(), Reader(section.string())
        if kind == 0x20:
            while part:
                found.serials.add((authority, part.uint64()))
        elif kind == 0x21:
            found.ranges.setdefault(authority, []).append((part.uint64(), part.uint64()))
        elif kind == 0x22:
            first, bits = part.uint64(), part.string()
            if len(bits) * 8 > MAX_BITMAP_BITS:
                raise BadRecord("revoked", f"a bitmap has more than {MAX_BITMAP_BITS} serials")
            found.bitmaps.setdefault(authority, []).append((first, int.from_bytes(bits, "big")))
        elif kind == 0x23:
            while part:
                found.ids.add((authority, part.text()))
        elif kind == 0x39:
            _extension(part)
        else:
            raise BadRecord("revoked", f"a part of kind {kind} is not known")


def _extension(section: Reader) -> None:
    name, critical = section.text(), section.byte()
    if critical:
        raise BadRecord("revoked", f"the extension {name[:60]!r} must be honoured and is not known")
