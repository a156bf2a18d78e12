# SPDX-License-Identifier: Apache-2.0
r"""The one error tree, arranged by who has to act.

::

    TidegateError
    ├── CallerError            the peer asked for what it cannot have
    │   ├── NotFound           ├── AlreadyExists      ├── NotADirectory     ├── IsADirectory
    │   ├── DirectoryNotEmpty  ├── Denied             ├── QuotaExceeded     ├── TooLarge
    │   ├── Unsupported        ├── InvalidArgument    ├── InvalidPath       ├── InvalidHandle
    │   ├── TooManyLinks       └── Conflict ── Locked, Outdated, LinkMet
    ├── PeerError              the peer broke the protocol or went away
    │   ├── ProtocolViolation  ├── PeerLimit          └── PeerGone
    ├── LoginRefused           a credential was not accepted
    ├── OperatorError          the person who runs the server has to act
    │   ├── ConfigError        ├── BadRecord          └── ProviderError ── ProviderUnavailable
    └── WorldError             storage or another outside system failed
        ├── StorageFull        ├── StorageReadOnly    ├── StorageFailed
        └── OutsideFailed ── OutsideBusy

Errors carry data, not prose to be parsed. `text` is the short fixed sentence a client may see: it never
holds a path of the host, a secret or the wording of the operating system. Each door translates classes
to its own codes in one table (`status.py`); a test proves that every leaf has a row in every table.

Long, because it is one tree, a few lines for each class.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar


class TidegateError(Exception):
    """Base of every error that Tidegate raises on purpose.

    Attributes:
        errno_name: what POSIX calls it, empty if it has no name there; see `errno_of`.
        told: an event about it was emitted, so that whoever meets it next need not emit one.
    """

    default_text: ClassVar[str] = "failure"
    errno_name: ClassVar[str] = ""
    told: bool = False

    def __init__(self, text: str | None = None) -> None:
        self.text = text if text is not None else self.default_text
        super().__init__(self.text)


# --- the caller -------------------------------------------------------------------------------------


class CallerError(TidegateError):
    """The request was understood and refused; asking again unchanged gives the same answer."""


class NotFound(CallerError):
    """The path does not exist, or policy hides it."""

    default_text = "no such file or directory"
    errno_name = "ENOENT"


class AlreadyExists(CallerError):
    """The target exists and the operation may not replace it."""

    default_text = "already exists"
    errno_name = "EEXIST"


class NotADirectory(CallerError):
    """A directory was needed and something else was found."""

    default_text = "not a directory"
    errno_name = "ENOTDIR"


class IsADirectory(CallerError):
    """A file was needed and a directory was found."""

    default_text = "is a directory"
    errno_name = "EISDIR"


class DirectoryNotEmpty(CallerError):
    """A directory that still has entries cannot be removed or replaced."""

    default_text = "directory not empty"
    errno_name = "ENOTEMPTY"


class Denied(CallerError):
    """Policy refused the operation.

    Args:
        text: what the client is told, for instance ``permission: upload on /in``.
        rule: the name of the rule that decided, for logs and `explain`, for instance
            ``permissions[/in]``.
    """

    default_text = "permission denied"

    def __init__(self, text: str | None = None, *, rule: str = "") -> None:
        super().__init__(text)
        self.rule = rule


class QuotaExceeded(CallerError):
    """A quota would be or is exceeded.

    Args:
        text: what the client is told; it names the limit.
        limit: name of the limit, for instance ``quota_size``.
        rule: name of the rule for logs and `explain`.
    """

    default_text = "denying write due to space limit"

    def __init__(self, text: str | None = None, *, limit: str = "", rule: str = "") -> None:
        super().__init__(text)
        self.limit = limit
        self.rule = rule


class TooLarge(CallerError):
    """The upload is larger than the account's `max_upload_file_size` allows."""

    default_text = "file too large: max_upload_file_size"


class Unsupported(CallerError):
    """The backend or the protocol version cannot do this."""

    default_text = "operation unsupported"


class OtherDevice(CallerError):
    """The two paths lie on different file systems, and the operation cannot reach across."""

    default_text = "source and target are on different file systems"
    errno_name = "EXDEV"


class InvalidArgument(CallerError):
    """A parameter is outside its range or contradicts another."""

    default_text = "invalid argument"


class InvalidPath(InvalidArgument):
    """The path cannot be a path: empty component rules, NUL byte, too long."""

    default_text = "invalid path"


class InvalidHandle(CallerError):
    """The handle was never issued, or is closed."""

    default_text = "invalid handle"


class TooManyLinks(CallerError):
    """Resolving symbolic links looped or took too many steps."""

    default_text = "too many levels of symbolic links"
    errno_name = "ELOOP"


class Conflict(CallerError):
    """Somebody else holds or changed the object meanwhile."""

    default_text = "resource busy"
    errno_name = "EBUSY"


class Locked(Conflict):
    """A write lock is in the way: it is another account's, or its token was not submitted (RFC 4918).

    Args:
        text: what the client is told.
        holder: the account that holds the lock; empty if what is in the way is no lock but a transfer.
        place: the identity of what is locked, for the server only.
        root: what is locked, as a virtual path of whoever met it; empty if that is not known.

    Attributes:
        rule: the name of the rule for logs and `explain`.
    """

    default_text = "locked"
    rule: ClassVar[str] = "lock"

    def __init__(self, text: str | None = None, *, holder: str = "", place: str = "", root: str = "") -> None:
        super().__init__(text or (f"locked by {holder}" if holder else None))
        self.holder = holder
        self.place = place
        self.root = root


class Outdated(Conflict):
    """A record is no longer as it was when whoever changes it read it; nothing was changed.

    Attributes:
        fields: names of the fields that differ by now; empty if that cannot be told.
    """

    default_text = "the record was changed meanwhile"

    def __init__(self, name: str = "", fields: tuple[str, ...] = ()) -> None:
        about = f"{name} was changed meanwhile" if name else self.default_text
        super().__init__(f"{about}: {', '.join(fields)}" if fields else about)
        self.fields = fields


class LinkMet(Conflict):
    """A symbolic link is on a way where none is followed (`abc.KnowsPlaces.unlinked`); nothing was done."""


# --- the peer ---------------------------------------------------------------------------------------


class PeerError(TidegateError):
    """The peer's conduct, not its wish, is the problem; the connection usually ends."""


class ProtocolViolation(PeerError):
    """Bytes that the protocol does not allow here."""

    default_text = "bad message"


class PeerLimit(PeerError):
    """A bound on what one peer may hold or queue was reached (handles, channels, packet size)."""

    default_text = "limit reached"


class PeerGone(PeerError):
    """The connection ended before the operation did."""

    default_text = "connection lost"


# --- logging in -------------------------------------------------------------------------------------


class LoginRefused(TidegateError):
    """A credential was not accepted. Clients are never told why; logs are.

    Args:
        reason: stable word for logs, for instance ``unknown_user``, ``bad_credential``,
            ``disabled``, ``expired``, ``address``, ``method``, ``protocol``, ``sessions``,
            ``provider_unavailable``.
        rule: the rule that decided, for `explain`.
    """

    default_text = "authentication failed"

    def __init__(self, reason: str, *, rule: str = "", username: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.rule = rule
        self.username = username

    def __str__(self) -> str:
        return f"login refused: {self.reason}"


# --- the operator -----------------------------------------------------------------------------------


class OperatorError(TidegateError):
    """The person who runs the server must change something."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in an outside document.

    Attributes:
        where: file (or environment variable) and key path, for instance ``tidegate.json: sftpd.bind_port``.
        what: what is wrong and what was expected, on one line.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ConfigError(OperatorError):
    """Configuration cannot be used; `problems` lists every mistake found, not only the first."""

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem("configuration", problems)] if isinstance(problems, str) else problems
        super().__init__("; ".join(map(str, self.problems)))


class BadRecord(OperatorError):
    """An account, folder, admin or dump record is invalid. `field` is the JSON path of the mistake."""

    def __init__(self, field: str, what: str) -> None:
        self.field = field
        self.what = what
        super().__init__(f"{field}: {what}" if field else what)


class RefusedKey(BadRecord):
    """A whole public key that may not be stored: too weak, a certificate, or narrowed by options."""


class UnknownFolder(BadRecord):
    """An account mounts a folder that does not exist, and does not describe it.

    Attributes:
        folder: its name.
    """

    def __init__(self, index: int, folder: str, where: str = "") -> None:
        self.folder = folder
        what = f"folder {folder!r} does not exist and no mapped_path is given"
        super().__init__(f"{where}virtual_folders[{index}].name", what)


class BadRecords(BadRecord):
    """Several records are invalid. `mistakes` has one line for each; `field` and `what` are of the first."""

    def __init__(self, field: str, what: str, mistakes: list[str]) -> None:
        super().__init__(field, what)
        self.mistakes = mistakes
        self.args = ("; ".join(mistakes),)


class ProviderError(OperatorError):
    """The data provider answered, and the answer is unusable."""

    default_text = "data provider error"


class ProviderUnavailable(ProviderError):
    """The data provider cannot be reached; the operation may be tried again later."""

    default_text = "data provider unavailable"


# --- the world --------------------------------------------------------------------------------------


class WorldError(TidegateError):
    """Storage or another outside system failed; nobody's request was wrong.

    Args:
        text: what the client is told.
        detail: what the operator is told beyond that, in logs and events: what a service said, the name of a
            bucket, a setting. Never a secret.
    """

    def __init__(self, text: str | None = None, *, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text


class StorageFull(WorldError):
    """The device or bucket has no room left."""

    default_text = "no space left on storage"
    errno_name = "ENOSPC"


class StorageReadOnly(WorldError):
    """The storage does not accept writes."""

    default_text = "storage is read-only"
    errno_name = "EROFS"


class StorageFailed(WorldError):
    """Input/output failed below us."""

    default_text = "storage failure"
    errno_name = "EIO"


class OutsideFailed(WorldError):
    """A program or service of the operator could not be asked, or did not answer within its bounds."""

    default_text = "an outside program or service failed"


class OutsideBusy(OutsideFailed):
    """Too many calls to programs or services wait already; nothing was started."""

    default_text = "too many calls to outside programs or services"


# --- for the log ------------------------------------------------------------------------------------


def errno_of(error: BaseException) -> str:
    """The name of the system's error that `error` stands for, for instance ``EACCES``; empty if for none."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return errno.errorcode.get(cause.errno or 0, "")
    if isinstance(cause, TidegateError):
        return errno_of(cause)
    return error.errno_name if isinstance(error, TidegateError) else ""
