# SPDX-License-Identifier: Apache-2.0
"""Public keys in every form that people paste, turned into one: the OpenSSH line ``type base64 comment``.

Read: OpenSSH lines (with options), RFC 4716 blocks, PEM (PKCS#8 and PKCS#1) and PuTTY key files without
their private part. Refused with a reason: private keys, DSA, RSA below 2048 bits, certificates, and key
options that narrow what a key may do, because dropping them in silence would widen it.

Long, because each form of a key is read here, a few lines each, and all end in the same checks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
import struct
from typing import Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from tidegate.accounts.key_kinds import is_certificate
from tidegate.errors import BadRecord, RefusedKey

MAX_TEXT_CHARS: Final = 256 * 1024
"""Longest text looked at for keys."""
MAX_KEYS: Final = 256
"""Most keys taken from one text."""
MAX_BLOB_BYTES: Final = 8 * 1024
"""Longest key in wire form; RSA of 16384 bits needs 2 KiB."""
MAX_COMMENT_CHARS: Final = 256
LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 16384
"""The most that OpenSSH accepts; larger ones cost too much to verify."""

_CURVES: Final = {
    "nistp256": ec.SECP256R1(),
    "nistp384": ec.SECP384R1(),
    "nistp521": ec.SECP521R1(),
}
_TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed448",
)
_KNOWN_REFUSED: Final = ("ssh-dss",)
_NARROWING: Final = ("from", "expiry-time", "command", "cert-authority", "principals")
"""sshd(8), AUTHORIZED_KEYS: options that Tidegate says elsewhere (filters) or cannot honour."""

_BLOCK: Final = re.compile(
    r"^[ \t]*(?P<rule>-----|---- )BEGIN (?P<label>[A-Z0-9 ]+?)(?:-----| ----)[ \t]*$"
    r"(?P<body>.*?)^[ \t]*(?P=rule)END (?P=label)(?:-----| ----)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_PUTTY: Final = re.compile(r"^PuTTY-User-Key-File-\d+:", re.MULTILINE)
_PRIVATE: Final = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY|^Private-Lines:|^Private-MAC:", re.MULTILINE)


NO_TOUCH: Final = "no-touch-required"
VERIFY: Final = "verify-required"
_KEPT: Final = (NO_TOUCH, VERIFY)
"""Options that stay in the line of a security key and are honoured."""


class PublicKey(NamedTuple):
    """One parsed key.

    Attributes:
        algorithm: key type, for instance ``ssh-ed25519``.
        blob: SSH wire form (RFC 4253, 6.6), canonical.
        comment: free text without control characters, may be empty.
        options: ``no-touch-required`` and ``verify-required`` of a security key.
    """

    algorithm: str
    blob: bytes
    comment: str = ""
    options: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The OpenSSH line."""
        parts = (",".join(self.options), self.algorithm, base64.b64encode(self.blob).decode(), self.comment)
        return " ".join(part for part in parts if part)


def parse_public_key(text: str) -> str:
    """The one key in `text` as an OpenSSH line.

    Raises:
        BadRecord: no key, more than one, or one that is refused; the text says why.
    """
    found = parse_public_keys(text)
    if len(found) > 1:
        raise BadRecord("public_keys", f"expected one key and found {len(found)}")
    return found[0].line


def parse_public_keys(text: str) -> list[PublicKey]:
    """Every key in `text`, which may mix forms; comment lines and blank lines between them are skipped.

    Raises:
        BadRecord: no key at all, too many, or one that is refused.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise _bad(f"longer than {MAX_TEXT_CHARS} characters")
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    if "\n" not in text and _starts_with_type(text) and "PRIVATE" not in text:
        return [_from_line(text.strip())]  # by far the most are a line of authorized_keys
    if _PRIVATE.search(text):
        raise _bad("this is a private key, which nobody but its owner should have; give the public key")
    found = _from_putty(text) if _PUTTY.search(text) else _from_blocks_and_lines(text)
    if not found:
        raise _bad("holds no key")
    if len(found) > MAX_KEYS:
        raise _bad(f"holds more than {MAX_KEYS} keys")
    return found


def stored_key(where: str, text: str) -> str:
    """The one key in a field of a document as the line that is stored.

    Raises:
        RefusedKey: a whole key of a kind that may not log in.
        BadRecord: no key, several, or a broken one; named by `where`.
    """
    try:
        return parse_public_key(text)
    except RefusedKey as error:
        raise RefusedKey(where, error.what) from None
    except BadRecord as error:
        raise BadRecord(where, error.what) from None


def checked_key(blob: bytes) -> PublicKey:
    """A key in wire form, canonical, if it is of a kind that may log in.

    Raises:
        RefusedKey: it may not.
        BadRecord: it is broken.
    """
    return _from_blob(blob, "")


def key_blob(line: str) -> bytes:
    """The wire form in an OpenSSH line that was stored before.

    Raises:
        BadRecord: it is not such a line.
    """
    parts = line.split(None, 3)
    if parts and parts[0].startswith(_KEPT):
        del parts[0]
    if len(parts) < 2 or len(parts[1]) > 2 * MAX_BLOB_BYTES:
        raise _bad("not an OpenSSH public key line")
    return _base64(parts[1])


def certificate_blob(text: str) -> bytes:
    """The wire form of the one certificate in OpenSSH's one-line form.

    Raises:
        BadRecord: there is none.
    """
    parts = text[:MAX_TEXT_CHARS].split(None, 2)
    if len(parts) < 2 or not parts[0].endswith("-cert-v01@openssh.com"):
        raise _bad("holds no certificate in the form of ssh-keygen")
    return _base64(parts[1])


def key_options(line: str) -> tuple[str, ...]:
    """The options in an OpenSSH line that was stored before: those of a security key."""
    first = line.split(None, 1)[0] if line.startswith(_KEPT) else ""
    return tuple(first.split(",")) if first else ()


def fingerprint(line: str) -> str:
    """``SHA256:`` and the unpadded base64 digest of the key, as ssh-keygen prints it.

    Raises:
        BadRecord: it is not an OpenSSH line.
    """
    return blob_fingerprint(key_blob(line))


def blob_fingerprint(blob: bytes) -> str:
    """The same for a key in wire form."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


# -- forms ---------------------------------------------------------------------------------------------


def _from_blocks_and_lines(text: str) -> list[PublicKey]:
    found: list[PublicKey] = []
    position = 0
    for block in _BLOCK.finditer(text):
        found += _from_lines(text[position : block.start()])
        found.append(_from_block(block["label"], block["body"].strip("\n"), block[0]))
        position = block.end()
    return found + _from_lines(text[position:])


def _from_lines(text: str) -> list[PublicKey]:
    lines = (line.strip() for line in text.split("\n"))
    return [_from_line(line) for line in lines if line and not line.startswith("#")]


def _from_line(line: str) -> PublicKey:
    """One line of authorized_keys: options, type, base64, comment (sshd(8))."""
    options, rest = "", line
    if not _starts_with_type(line):
        options, rest = _split_options(line)
        if not _starts_with_type(rest):
            raise _bad("neither an OpenSSH key line nor a key block of a known form")
    if options.startswith("@"):  # else a key that is marked as revoked would be taken
        raise _bad(
            f"{_shown(options)} is a marker of known_hosts; give the line without it, if the key is good"
        )
    names = _option_names(options)
    for option in names:
        if option in _NARROWING:
            raise _refused(
                f"the key option {option!r} is not supported; express it with the account's filters"
            )
    parts = rest.split(None, 2)
    if len(parts) < 2:
        raise _bad("the key line ends after its type")
    key = _from_blob(_base64(parts[1]), parts[2] if len(parts) > 2 else "")
    if key.algorithm != parts[0]:
        raise _bad(f"the line says {_shown(parts[0])} and the key is {key.algorithm}")
    if not key.algorithm.startswith("sk-"):
        if VERIFY in names:
            raise _refused(f"the key option {VERIFY!r} is about security keys, and this key is none")
        return key
    return key._replace(options=tuple(option for option in _KEPT if option in names))


def _starts_with_type(line: str) -> bool:
    word = line.split(None, 1)[0] if line.strip() else ""
    return word in _TYPES or word in _KNOWN_REFUSED or word.endswith("-cert-v01@openssh.com")


def _split_options(line: str) -> tuple[str, str]:
    """Options end at the first blank outside double quotes."""
    quoted = False
    for place, char in enumerate(line):
        if char == '"' and (place == 0 or line[place - 1] != "\\"):
            quoted = not quoted
        elif char in " \t" and not quoted:
            return line[:place], line[place:].strip()
    return line, ""


def _option_names(options: str) -> list[str]:
    if not options:
        return []
    lexer = shlex.shlex(options, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
    try:
        return [option.partition("=")[0].strip().lower() for option in lexer]
    except ValueError:
        raise _bad("the key options have an open quote") from None


def _from_block(label: str, body: str, whole: str) -> PublicKey:
    if label == "SSH2 PUBLIC KEY":
        return _from_rfc4716(body)
    if label in ("PUBLIC KEY", "RSA PUBLIC KEY"):
        try:
            loaded = serialization.load_pem_public_key(whole.strip().encode())
        except (ValueError, UnsupportedAlgorithm):
            raise _bad("malformed PEM public key") from None
        if isinstance(loaded, dsa.DSAPublicKey):
            raise _refused("DSA keys are not accepted: they are too weak")
        if isinstance(loaded, ed448.Ed448PublicKey):
            return _from_blob(_string(b"ssh-ed448") + _string(loaded.public_bytes_raw()), "")
        if not isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise _bad("this kind of PEM key cannot be used with SSH")
        try:
            line = loaded.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        except (ValueError, UnsupportedAlgorithm):
            raise _bad("this kind of PEM key cannot be used with SSH") from None
        return _from_blob(_base64(line.split()[1].decode()), "")
    raise _bad(f"a {_shown(label)} block is not a public key")


def _from_rfc4716(body: str) -> PublicKey:
    """Headers, which go on after a backslash, then base64 (RFC 4716, 3.3)."""
    lines = body.replace("\\\n", "").split("\n")
    comment = ""
    place = 0
    while place < len(lines) and ":" in lines[place]:
        name, _, value = lines[place].partition(":")
        if name.strip().lower() == "comment":
            comment = value.strip().strip('"')
        place += 1
    return _from_blob(_base64("".join(line.strip() for line in lines[place:])), comment)


def _from_putty(text: str) -> list[PublicKey]:
    """A PuTTY key file, version 2 or 3, without its private part (PuTTY manual, appendix C)."""
    lines = text.strip().split("\n")
    headers: dict[str, str] = {}
    place = 0
    while place < len(lines) and ":" in lines[place]:
        name, _, value = lines[place].partition(":")
        headers[name.strip()] = value.strip()
        place += 1
        if name.strip() == "Public-Lines":
            break
    version = next((name for name in headers if name.startswith("PuTTY-User-Key-File-")), "")
    if version not in ("PuTTY-User-Key-File-2", "PuTTY-User-Key-File-3"):
        raise _bad("PuTTY key file of an unknown version; expected 2 or 3")
    count = headers.get("Public-Lines", "")
    if not (count.isascii() and count.isdigit() and len(count) <= 4 and place + int(count) <= len(lines)):
        raise _bad("PuTTY key file without its Public-Lines")
    end = place + int(count)
    key = _from_blob(_base64("".join(line.strip() for line in lines[place:end])), headers.get("Comment", ""))
    if key.algorithm != headers[version]:
        raise _bad(f"the file says {_shown(headers[version])} and the key is {key.algorithm}")
    return [key]


# -- the wire form ---------------------------------------------------------------------------------------


def _from_blob(blob: bytes, comment: str) -> PublicKey:
    """Check a key in wire form and make it canonical."""
    if len(blob) > MAX_BLOB_BYTES:
        raise _bad(f"longer than {MAX_BLOB_BYTES} bytes")
    if is_certificate(blob):
        raise _refused("this is a certificate; give the public key it was made for")
    fields = _fields(blob)
    algorithm = fields[0].decode("ascii", "replace")
    if algorithm == "ssh-dss":
        raise _refused("DSA keys are not accepted: they are too weak")
    if algorithm not in _TYPES:
        raise _bad(f"unknown key type {_shown(algorithm)}")
    checked = _checked(algorithm, fields[1:])
    return PublicKey(algorithm, b"".join(map(_string, (fields[0], *checked))), _clean_comment(comment))


def _checked(algorithm: str, fields: list[bytes]) -> list[bytes]:
    """The fields after the type, canonical (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4, PROTOCOL.u2f)."""
    wanted = {"ssh-ed25519": 1, "ssh-ed448": 1, "sk-ecdsa-sha2-nistp256@openssh.com": 3}.get(algorithm, 2)
    if len(fields) != wanted:
        raise _bad(f"malformed {algorithm} key")
    if algorithm == "ssh-rsa":
        exponent, modulus = (int.from_bytes(field, "big", signed=True) for field in fields)
        if not LEAST_RSA_BITS <= modulus.bit_length() <= MOST_RSA_BITS or modulus < 0:
            raise _refused(
                f"RSA key of {modulus.bit_length()} bits; {LEAST_RSA_BITS} to {MOST_RSA_BITS} are accepted"
            )
        if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 64 or modulus % 2 == 0:
            raise _bad("malformed ssh-rsa key")
        return [_mpint(exponent), _mpint(modulus)]
    if "ecdsa" in algorithm:
        curve = algorithm.removeprefix("sk-").removeprefix("ecdsa-sha2-").removesuffix("@openssh.com")
        if fields[0] != curve.encode() or fields[1][:1] != b"\x04":
            raise _bad(f"malformed {algorithm} key")
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], fields[1])
        except ValueError:
            raise _bad(f"malformed {algorithm} key: not a point of its curve") from None
    elif len(fields[0]) != (57 if algorithm == "ssh-ed448" else 32):
        raise _bad(f"malformed {algorithm} key")
    return fields


def _fields(blob: bytes) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while place < len(blob) and len(found) < 8:
        if place + 4 > len(blob):
            raise _bad("the key is cut short")
        size = int(struct.unpack_from(">I", blob, place)[0])
        place += 4
        if place + size > len(blob):
            raise _bad("the key is cut short")
        found.append(blob[place : place + size])
        place += size
    if not found or place != len(blob):
        raise _bad("malformed key")
    return found


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _mpint(number: int) -> bytes:
    """RFC 4251, 5: two's complement without needless leading bytes."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("the key is not base64") from None


def _clean_comment(comment: str) -> str:
    if not comment.isprintable():
        comment = "".join(char if char.isprintable() else " " for char in comment)
    return comment.strip()[:MAX_COMMENT_CHARS]


def _shown(text: str) -> str:
    return repr(text[:60])


def _refused(what: str) -> RefusedKey:
    return RefusedKey("public_keys", what)


def _bad(what: str) -> BadRecord:
    return BadRecord("public_keys", what)
