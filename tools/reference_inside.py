# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  prose
"""The reference pages of what is inside: SFTP, errors, permissions, events. See `generate_reference`.

Where the code has no sentence for people, it stands in a table here; `missing` names what lacks one.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from typing import Final

from tidegate import errors
from tidegate.doors.sftp import status
from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.doors.sftp.extensions import ADVERTISED, DIGEST_BYTES, MAX_IDS, MIN_CHECK_BLOCK_BYTES
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire.decoding import EXTENSIONS
from tidegate.events import kinds
from tidegate.events.documents import KEPT, name_of
from tidegate.events.sinks.lines import line_of
from tidegate.model import NOWHERE, Action, Intent, Origin, Permission, ProgramUse
from tidegate.policy.programs import READS, WRITES
from tidegate.policy.requirements import REQUIREMENTS, Need, Use
from tidegate.web.api import status as web_status

NAMES_OF_CODES = {
    c.OK: "SSH_FX_OK", c.EOF: "SSH_FX_EOF", c.NO_SUCH_FILE: "SSH_FX_NO_SUCH_FILE",
    c.PERMISSION_DENIED: "SSH_FX_PERMISSION_DENIED", c.FAILURE: "SSH_FX_FAILURE",
    c.BAD_MESSAGE: "SSH_FX_BAD_MESSAGE", c.OP_UNSUPPORTED: "SSH_FX_OP_UNSUPPORTED",
}  # fmt: skip

REQUESTS = {
    "OPEN": "Opens a file. CREAT, TRUNC and APPEND imply writing; CREAT with EXCL fails if the name exists, also if it is a link, which it never follows. With APPEND every write goes to the end, whatever its offset. Permissions for what the flags allow are judged here; a file that may be written and not read is opened all the same, and READ is refused. A name that ends in `/` is not opened for writing.",
    "CLOSE": "Waits for the reads and writes of the handle, then publishes an upload. Its answer is the proof that the upload is complete.",
    "READ": "Up to 255 KiB; past the end the answer is EOF. Runs beside other reads and writes.",
    "WRITE": "At any offset. Runs beside others, except where bytes overlap.",
    "LSTAT": "Attributes, of a link itself.",
    "FSTAT": "Attributes of an open file or listing. Who may open a file may ask for these; `list` is not needed.",
    "SETSTAT": "Size, owner, mode, times (`common.setstat_mode`). A user or group of 4294967295 stays as it is. Each needs its permission. With no attributes it asks what STAT asks.",
    "FSETSTAT": "As SETSTAT. Storage without modes or times does not make it fail, so that a finished upload counts. The handle that created a file sets its mode, times and size with `upload` alone.",
    "OPENDIR": "Opens a listing; a refusal is answered here.",
    "READDIR": "The next names, with `.` and `..` first and a long name as `ls -l` writes it. Directories of any size are streamed: up to 250 names an answer, in at most 34,000 bytes (64 KiB for OpenSSH's clients); the next one is made while the client reads.",
    "REMOVE": "Removes a file or a link.",
    "MKDIR": "Makes one directory.",
    "RMDIR": "Removes an empty directory.",
    "REALPATH": "The absolute path without links on the way, whether it exists or not. Where something on the way may not be seen, or leads nowhere, the path as it was asked for.",
    "STAT": "Attributes, of what a link leads to.",
    "RENAME": "Files, directories and links, also between home and folders (ADR 0019). Refuses an existing target, or replaces it as posix-rename does: `filters.rename_onto` of the account, else of the binding, else `sftpd.rename_onto` (ADR 0025).",
    "READLINK": "The text that the link was made with. An absolute one is a path within the account. Permissions are asked for the place of the link, not for what the text points to: nothing behind it is told.",
    "SYMLINK": "Each client's own order of arguments is read: target first, as OpenSSH has it, but link first from those that send this to servers which do not look like OpenSSH (libssh, WinSCP, Node ssh2, phpseclib, asyncssh). A link that leads outside is refused.",
    "EXTENDED": "See below; an unknown one is answered OP_UNSUPPORTED.",
}

EXTENDED = {
    "posix-rename@openssh.com": ("RENAME with the outcomes of rename(2): replaces a file, a link or an empty directory; a name onto itself is no change.", "OpenSSH, sshfs, rclone, WinSCP"),
    "statvfs@openssh.com": ("Space on the storage, or what is left of the quota if that is less.", "sshfs, `sftp df`, rclone about, WinSCP"),
    "fstatvfs@openssh.com": ("The same for a handle.", "OpenSSH"),
    "hardlink@openssh.com": ("Makes a hard link.", "sshfs, `sftp ln`"),
    "fsync@openssh.com": ("Makes what was written durable.", "sshfs, `sftp put -f`"),
    "lsetstat@openssh.com": ("SETSTAT on a link itself.", "`sftp chmod -h`"),
    "limits@openssh.com": ("Longest packet, read and write, and number of handles.", "OpenSSH 8.6 and later, asyncssh"),
    "expand-path@openssh.com": ("REALPATH that knows `~` and one's own `~user`.", "scp over SFTP"),
    "copy-data": ("Copies a range between two open files without moving it through the client.", "`sftp cp`, asyncssh"),
    "copy-file": (
        "Copies a file by name; a flag allows replacing. Counts as space, not as traffic.",
        "WinSCP, Bitvise",
    ),
    "home-directory": ("One's own home. Of others nothing is said.", "OpenSSH"),
    "users-groups-by-id@openssh.com": (f"Names of up to {MAX_IDS} user and group ids; only the account's own have one.", "`sftp ls -l`"),
    "check-file-name": (f"Digests of a file by name: {', '.join(DIGEST_BYTES)}; of the whole, or of blocks of at least {MIN_CHECK_BLOCK_BYTES} bytes. Apache MINA gets the answer in the form of its own server.", "WinSCP, Apache MINA"),
    "check-file-handle": ("The same for a handle.", "WinSCP"),
    "check-file": ("The same, in the form that paramiko asks for; under this name it is advertised, with the algorithms.", "paramiko"),
    "space-available": ("Space in the form of SFTP 6.", "WinSCP, VanDyke"),
}  # fmt: skip

MEANS = {
    Permission.ANY: "Everything below.",
    Permission.LIST: "See names and attributes, read links, ask for digests and free space.",
    Permission.DOWNLOAD: "Read files.",
    Permission.UPLOAD: "Create files.",
    Permission.OVERWRITE: "Change files that exist: replace, resume, append, truncate, rename over.",
    Permission.DELETE: "Remove files and directories.",
    Permission.DELETE_FILES: "Remove files and links.",
    Permission.DELETE_DIRS: "Remove directories.",
    Permission.RENAME: "Rename files and directories.",
    Permission.RENAME_FILES: "Rename files and links.",
    Permission.RENAME_DIRS: "Rename directories.",
    Permission.CREATE_DIRS: "Make directories.",
    Permission.CREATE_SYMLINKS: "Make symbolic and hard links.",
    Permission.CHMOD: "Change modes.",
    Permission.CHOWN: "Change owners.",
    Permission.CHTIMES: "Change times.",
    Permission.COPY: "Have the server copy files.",
}

USES = {
    Use.LOOK: "only hidden names are refused",
    Use.TOUCH: "denied and hidden names are refused",
    Use.CREATE: "denied and hidden names, and those of a preset, are refused",
}


def table(headers: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def classes(root: type, *, own: bool = False) -> Iterator[type]:
    """A class tree, parents first."""
    if own:
        yield root
    for child in root.__subclasses__():
        # A dataclass with slots is made twice; the first one lingers until it is collected.
        if getattr(sys.modules[child.__module__], child.__name__, None) is child:
            yield from classes(child, own=True)


def event_kinds() -> list[type[kinds.Event]]:
    """All kinds of events."""
    return [
        cls for cls in classes(kinds.Event) if cls is not kinds.Common and not cls.__name__.startswith("_")
    ]


def fields_of(cls: type[kinds.Event]) -> list[str]:
    """Fields of a kind, in order."""
    return list(getattr(cls, "_fields", None) or [field.name for field in dataclasses.fields(cls)])


def event_of(cls: type[kinds.Event]) -> kinds.Event:
    """An event of a kind."""
    if cls is kinds.Transferred:
        return kinds.Transferred(NOWHERE, 0.0, Action.UPLOAD, command="STOR")
    if cls in (kinds.Refused, kinds.Failed):
        return cls(command="STOR")  # type: ignore[call-arg]
    return kinds.Operated(action=Action.RENAME, command="RNTO") if cls is kinds.Operated else cls()


def sentence(text: str | None) -> str:
    """The first paragraph of a docstring, in the words of Markdown."""
    return " ".join((inspect.cleandoc(text or "").split("\n\n")[0]).split()).replace("``", "`")


def request_names() -> dict[int, str]:
    """Packet types of requests: the constants from OPEN up to the first reply, and EXTENDED."""
    names = list(vars(c))
    names = [*names[names.index("OPEN") : names.index("STATUS")], "EXTENDED"]
    return {vars(c)[name]: name for name in names}


def missing() -> list[str]:
    """Things that the code has and the tables here do not, and the other way round."""
    extensions = {name.decode() for name in EXTENSIONS}
    left = {f"extension {name}" for name in extensions ^ EXTENDED.keys()}
    left |= {f"request {name}" for name in REQUESTS.keys() ^ set(request_names().values())}
    left |= {f"permission {name}" for name in set(Permission) ^ MEANS.keys()}
    left |= {f"intent {name}" for name in set(Intent) ^ REQUIREMENTS.keys()}
    left |= {f"status code {code}" for code in set(status.CODES.values()) - NAMES_OF_CODES.keys()}
    left |= {f"error {cls.__name__}" for cls in classes(errors.TidegateError) if not cls.__doc__}
    left |= {f"event {cls.__name__}" for cls in event_kinds() if not cls.__doc__}
    advertised = {name.decode() for name, _ in ADVERTISED}
    left |= {f"advertised extension {name}" for name in advertised - extensions}
    return sorted(left)


OPENSSH: Final = (
    "times set while a file is open count at CLOSE, whatever is written after them, since requests may overtake each other",
    "a SETSTAT or FSETSTAT of several things that fails sets none of them",
    "EINVAL and ENAMETOOLONG are no malformed message",
    "ENOTDIR and EBADF: what is named exists (a file where a directory is needed, a handle of another kind)",
    "a directory is not opened for writing: WinSCP and others look for OP_UNSUPPORTED",
    "the root cannot be removed, renamed or linked: policy is asked first",
    "a link that leads outside is not made",
    "READ of no bytes: the draft allows either",
    "SETSTAT that sets nothing looks whether the path exists; OpenSSH does not",
    "REALPATH answers for what does not exist, as the draft has it",
    "lsetstat with a size: OpenSSH takes none, here a file has it set",
    "hard links are of files, not of links",
    "a directory is not opened to read: OpenSSH gives a handle that nothing can be read from",
    "`.` and `..` are taken away from paths before they are used: `rmdir e/.` removes e",
    "listings have attributes as files have; OpenSSH asks for a file",
    "hard links of directories: EPERM is the system's, not the gate's",
    "of two names of which one is too long and one behind a loop, the loop is told",
    "RENAME never replaces; OpenSSH follows a link that leads nowhere and finds nothing",
    "mode 2: who owns the part may open it until it is published, to resume",
    "where rules differ from place to place, a link is not moved to where its text leads elsewhere, alone or in its directory",
    "where usage is counted, a file that is being written gets no second name",
    "a link that was moved so that it leads outside is refused; OpenSSH follows it, and creates the file that it names",
    "what a link says that leads outside is not told",
    "links have no mode of their own on Linux",
)
"""The answers that differ from those of OpenSSH's sftp-server for good; the random dialogues of the tests
hold no others."""


def sftp() -> str:
    """The page of the SFTP door."""
    limits = SftpLimits()
    advertised = {name.decode(): value.decode() for name, value in ADVERTISED}
    page = (
        "# SFTP\n\n"
        f"Version {c.VERSION} (draft-ietf-secsh-filexfer-02); clients of later versions step down to it. Bytes after the known "
        "fields of a request are tolerated. Paths are bytes: names that are not UTF-8 come back as they were sent.\n\n"
        "Reads and writes run side by side and are answered as they end. Everything else is done in order of arrival on "
        "local storage. On remote storage up to 32 requests of a channel run at the same time and are answered as they end, "
        "unless they are about the same handle, or one changes something at, above or below the path of the other: those "
        "keep their order. A "
        "request about a handle waits for what was sent before it on that handle.\n\n## Requests\n\n"
    )
    names = request_names()
    page += table(
        ("type", "name", "what it does"),
        [(str(n), f"`{names[n]}`", REQUESTS[names[n]]) for n in sorted(names)],
    )
    page += "\n## Extensions\n\nAnnounced in the VERSION packet with the value shown; those without one answer when asked.\n\n"
    page += table(
        ("name", "value", "what it does", "used by"),
        [
            (f"`{name}`", f"`{advertised[name]}`" if name in advertised else "", *EXTENDED[name])
            for name in map(bytes.decode, EXTENSIONS)
        ],
    )
    page += (
        "\n## Bounds of a channel\n\n"
        + table(
            ("what", "bound"),
            [
                (
                    "longest packet",
                    f"{limits.packet_bytes} bytes; a longer one ends the channel. {c.ADVERTISED_PACKET_BYTES} is what `limits@openssh.com` tells",
                ),
                ("one READ or WRITE", f"{limits.read_bytes} bytes are answered to a READ, and told for both"),
                ("files and listings open", str(limits.handles)),
                ("requests under way", str(limits.requests)),
                ("bytes held by requests under way", f"{limits.held_bytes}; then the client has to wait"),
            ],
        )
        + "\n## Beside OpenSSH\n\n"
        "Random dialogues with OpenSSH's sftp-server over the same tree, in all upload modes, have the same answers, contents and trees, but for these:\n\n"
        + "".join(f"* {reason}\n" for reason in OPENSSH)
        + "\n## Status codes\n\n"
        "The text that comes with a code is fixed or made of the client's own words; it never holds a path of the host. A "
        "refusal by policy says which permission is missing (`permission: upload on /in`), a quota which limit it was. An "
        f"error that nobody foresaw is FAILURE with the text `{status.INTERNAL_TEXT}`; the log has the rest.\n\n"
    )
    rows: list[tuple[str, ...]] = [
        (str(c.OK), "`SSH_FX_OK`", "The request was done.", ""),
        (str(c.EOF), "`SSH_FX_EOF`", "READ at or past the end; READDIR after the last name.", ""),
    ]
    for cls, code in sorted(status.CODES.items(), key=lambda item: item[1]):
        text = status.text_of(sample(cls))
        rows.append((str(code), f"`{NAMES_OF_CODES[code]}`", sentence(cls.__doc__), f"`{text}`"))
    page += table(("code", "name", "when", "text, unless a better one is known"), rows)
    return page


def sample(cls: type[errors.TidegateError]) -> errors.TidegateError:
    """An error of a class, with as little as it needs."""
    needed = [
        p
        for p in inspect.signature(cls).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    return cls(*["" for _ in needed])


def error_page() -> str:
    """The page of errors."""
    page = (
        "# Errors\n\n"
        "Every failure inside is one of these classes of `tidegate.errors`, arranged by who has to act. Each door has one "
        "table from class to its own code; a class without a row of its own takes that of its family.\n"
    )
    families = {
        errors.CallerError: "The caller", errors.PeerError: "The peer", errors.LoginRefused: "Logging in",
        errors.OperatorError: "The operator", errors.WorldError: "The world",
    }  # fmt: skip
    for family, title in families.items():
        page += f"\n## {title}\n\n{sentence(family.__doc__)}\n\n"
        rows = []
        for cls in [family] if family is errors.LoginRefused else classes(family):
            if cls.__module__ != errors.__name__:
                continue  # a room's own, told apart by nobody outside; it may not even be loaded
            code = status.code_of(sample(cls))
            rows.append(
                (
                    f"`{cls.__name__}`", sentence(cls.__doc__), f"`{cls.default_text}`",
                    f"{code} `{NAMES_OF_CODES[code]}`", str(web_status.code_of(sample(cls))),
                )
            )  # fmt: skip
        page += table(("class", "meaning", "fixed text", "SFTP", "HTTP"), rows)
    return page


def words(needs: tuple[Need, ...]) -> str:
    return " and ".join(" or ".join(f"`{p}`" for p in need.any_of) for need in needs)


def permissions() -> str:
    """The page of permissions."""
    page = (
        "# Permissions\n\n"
        "An account has a table from directory to names. For an act in a directory the entry of that directory counts, or "
        "that of its nearest ancestor; entries are never added up. `/` has to have one. A key may hold `*`, `?` and `[...]`, "
        "which stay within one component: `/in/*` names the directories in `/in`; of several that fit the most literal counts. Where no entry applies, nothing is "
        "granted. `delete` gives `delete_files` and `delete_dirs`, `rename` gives `rename_files` and `rename_dirs`.\n\n"
        "```json\n"
        '{"permissions": {"/": ["list", "download"], "/in": ["list", "upload", "overwrite"]}}\n'
        "```\n\n## Names\n\n"
    )
    page += table(("name", "allows to"), [(f"`{p}`", MEANS[p]) for p in Permission])
    page += (
        "\n## What each act needs\n\n"
        "Judged in the directory that holds the name, except where it says otherwise. The words of the first column are what "
        "`tidegate explain --op` takes.\n\n"
        "Where links lead elsewhere, the same is asked of the place that is reached: a link gives no more than what it leads to, "
        "and nothing is told of a place behind it that is closed or hidden. READLINK asks for the place of the link itself.\n\n"
        "A handle keeps what its OPEN was granted. FSTAT of it needs no `list`. The handle that created a file sets its size, mode and times "
        "without `overwrite`, `chmod` and `chtimes`; owners need `chown` always. SETSTAT without attributes is a `stat`.\n\n"
    )
    rows = []
    for intent, r in REQUIREMENTS.items():
        if intent is Intent.CHECKSUM:
            rows.append((f"`{intent}`", "`list`; for a part of a file `download` too", "", USES[r.use]))
            continue
        demand = words(r.source) + (", on the directory itself" if r.on_itself else "")
        target = words(r.target) if r.target else ""
        if r.replaces:
            target += (
                "; over an existing file `overwrite` instead of `upload`"
                if intent is Intent.COPY
                else "; over an existing file `overwrite` too"
            )
        rows.append(
            (
                f"`{intent}`",
                demand,
                target,
                USES[r.use] + ("; `/` itself is refused" if r.root_refused else ""),
            )
        )
    page += table(("act", "needs", "and at its target", "rules on names"), rows)
    page += (
        "\n## What a program of the system needs\n\n"
        "git and rsync ([how](../how_to/rsync-and-git.md)) ask nobody, so everything that they could do is needed in their "
        "directory, by each entry of the table that speaks of it or of a directory below. No file pattern may hold there, and no folder be mounted below.\n\n"
    )
    page += table(
        ("use", "needs"),
        [
            (f"`{use}`", ", ".join(f"`{name}`" for name in (WRITES if use.writes else READS)))
            for use in ProgramUse
        ],
    )
    page += (
        "\nrsync that sets modes needs `chmod` too, times `chtimes`; owners are set with `chown`, and left alone without it. "
        "`--remove-source-files` needs what writing needs.\n"
    )
    return page


def events() -> str:
    """The page of events."""
    page = (
        "# Events\n\n"
        "What happens is told once, as a frozen value of `tidegate.events.kinds`, on a bounded bus; sinks take it from there. "
        "The log is a sink; [add a sink](../how_to/add-a-sink.md) tells how to add one.\n\n"
        "Every event has `at` and `origin`, with "
        + ", ".join(f"`{f.name}`" for f in dataclasses.fields(Origin))
        + " (empty where unknown). "
        "Times are seconds, sizes bytes; `action` is one of "
        + ", ".join(f"`{action.value}`" for action in Action)
        + ". In the configuration and in documents an event is called by its `action` (`upload_failed` and "
        "`download_failed` of a transfer that did not end well) or, of the other kinds, by its name below.\n\n"
        "A kept sink gets, unless it names others: "
        + ", ".join(f"`{name}`" for name in KEPT)
        + ". Its documents "
        "have `id`, `event`, `type` (the kind), `at`, `origin` and the fields of the kind.\n\n"
        "[Logs](logs.md) explains the fields of the log lines.\n\n"
    )
    common = {"origin", "at"}
    rows = []
    for cls in event_kinds():
        line = line_of(event_of(cls))
        senders = {"Transferred": "`Upload`, `Download`", "Operated": "the name of the operation"}.get(
            cls.__name__, f"`{line.sender}`" if line else "none"
        )
        fields = ", ".join(f"`{name}`" for name in fields_of(cls) if name not in common)
        called = {"Transferred": "its action", "Operated": "its action"}.get(
            cls.__name__, f"`{name_of(event_of(cls))}`"
        )
        rows.append((f"`{cls.__name__}`", called, sentence(cls.__doc__), fields, senders))
    return page + table(("event", "name", "when", "fields of its own", "sender in the log"), rows)
