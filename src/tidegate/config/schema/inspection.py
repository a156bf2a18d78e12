# SPDX-License-Identifier: Apache-2.0
"""Section ``inspection``: who is asked before an act counts."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import model_validator

from tidegate.config.schema.base import Section, key


class InspectorKeys(Section):
    """One inspector."""

    use: str = key(
        "",
        "Name of an installed inspector (entry point group `tidegate.inspectors`), or `package.module:name`.",
    )
    name: str = key("", "What rules and the log call it; empty is `use`.")
    acts: list[Literal["login", "open_upload", "upload", "download", "delete"]] = key(
        ["upload"], "What it is asked about."
    )
    seconds: int = key(30, "How long it may take.", unit="seconds", ge=1, le=3600)
    on_error: Literal["refuse", "allow"] = key(
        "refuse", "What an act comes to if it fails or takes longer: `refuse` or `allow`."
    )
    while_arriving: bool = key(
        False,
        "Ask about uploads while they arrive; waiting for the client does not count to `seconds`. Needs a "
        "`name` that no other inspector has.",
    )
    options: dict[str, Any] = key({}, "What the inspector is given; see its documentation.", secret=True)


_PORT: Final = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
CLAMD_ADDRESS: Final = (
    rf"^$|^/[^\x00]{{1,106}}$|^(?:[A-Za-z0-9._-]{{1,253}}|\[[0-9A-Fa-f:.]+\])(?::{_PORT})?$"
)
"""An address of clamd; a path is no longer than the system takes for a Unix socket."""
CLAMD_ADDRESS_LIKE: Final = "host, host:port, [IPv6 address]:port, or the absolute path of a Unix socket"

ICAP_URL: Final = rf"^$|^icaps?://(?:[A-Za-z0-9._-]{{1,253}}|\[[0-9A-Fa-f:.]+\])(?::{_PORT})?/[!-~]{{0,200}}$"
"""A service of an ICAP server."""

_Policy = Literal["refuse", "allow", "quarantine"]
_Own = Literal["", "refuse", "allow", "quarantine"]


class ClamdKeys(Section):
    """A virus scan by clamd before an upload is acknowledged."""

    address: str = key(
        "",
        "Where clamd listens: `host`, `host:port` (3310 unless given), `[IPv6 address]:port`, or the "
        "absolute path of a Unix socket; empty is off.",
        pattern=CLAMD_ADDRESS,
        like=CLAMD_ADDRESS_LIKE,
    )
    seconds: int = key(
        60, "How long a scan may take, with the wait for its turn.", unit="seconds", ge=1, le=3600
    )
    max_size: int = key(
        104_857_600,
        "Largest file that is sent to clamd; 0 is any. Its own `StreamMaxLength` holds besides.",
        unit="bytes",
        ge=0,
    )
    at_once: int = key(10, "Scans that run at once; clamd has `MaxThreads`.", ge=1, le=256)
    streams: int = key(
        32,
        "Uploads that are sent to clamd at once while they arrive, and as many to storage that cannot give "
        "back what was written; one account has half at most. clamd has `MaxQueue` for all of them. 0 sends "
        "each when it is complete.",
        ge=0,
        le=1024,
    )
    when_infected: Literal["refuse", "quarantine"] = key(
        "refuse", "What becomes of an infected file; `quarantine` refuses it and keeps it apart."
    )
    when_down: _Policy = key(
        "refuse", "What becomes of a file if clamd is not there or its answer is not understood."
    )
    when_slow: _Policy = key("refuse", "What becomes of a file if its scan takes longer than `seconds`.")
    when_too_large: _Policy = key(
        "refuse", "What becomes of a file that is larger than `max_size` or than clamd takes."
    )
    when_unreadable: Literal["refuse", "allow"] = key(
        "refuse",
        "What becomes of a file that was not sent to clamd while it arrived and that its storage cannot give "
        "back: in buckets, one in several parts, if `streams` is 0 or it continues another one.",
    )


class IcapKeys(Section):
    """A scan by an ICAP server before an upload is acknowledged."""

    url: str = key(
        "",
        "The service: `icap://host/service`, `icap://host:port/service` (1344 unless given), `icaps://` by "
        "TLS (11344 unless given); empty is off.",
        pattern=ICAP_URL,
        like="icap://host:port/service",
    )
    ca_file: str = key(
        "",
        "File of the authorities (PEM), one of which has to have signed the certificate of an `icaps` "
        "service, which has to name the host; empty is the system's.",
    )
    method: Literal["reqmod", "respmod"] = key(
        "reqmod",
        "How the file is shown: `reqmod` as a request that uploads it, `respmod` as a response that has it.",
    )
    seconds: int = key(
        60, "How long a scan may take, with the wait for its turn.", unit="seconds", ge=1, le=3600
    )
    max_size: int = key(104_857_600, "Largest file that is sent; 0 is any.", unit="bytes", ge=0)
    at_once: int = key(10, "Scans that run at once.", ge=1, le=256)
    streams: int = key(
        16,
        "Uploads that are sent at once while they arrive, and as many to storage that cannot give back what "
        "was written; one account has half at most. 0 sends each when it is complete.",
        ge=0,
        le=1024,
    )
    when_infected: Literal["refuse", "quarantine"] = key(
        "refuse", "What becomes of a file that the server refuses; `quarantine` keeps it apart."
    )
    when_down: _Policy = key(
        "refuse", "What becomes of a file if the server is not there or its answer is not understood."
    )
    when_slow: _Policy = key("refuse", "What becomes of a file if its scan takes longer than `seconds`.")
    when_too_large: _Policy = key(
        "refuse", "What becomes of a file that is larger than `max_size` or than the server takes."
    )
    when_unreadable: Literal["refuse", "allow"] = key(
        "refuse",
        "What becomes of a file that was not sent while it arrived and that its storage cannot give back.",
    )


class FolderPolicyKeys(Section):
    """Policies for files in one folder and below, where that differs from the policies of the scanner."""

    path: str = key("/", "The folder, as clients name it.", pattern=r"^/", like="an absolute path")
    users: list[str] = key([], "Accounts that it is about; empty is all.")
    when_infected: Literal["", "refuse", "quarantine"] = key("", "As that of the scanner; empty leaves it.")
    when_down: _Own = key("", "As that of the scanner; empty leaves it.")
    when_slow: _Own = key("", "As that of the scanner; empty leaves it.")
    when_too_large: _Own = key("", "As that of the scanner; empty leaves it.")
    when_unreadable: Literal["", "refuse", "allow"] = key("", "As that of the scanner; empty leaves it.")


class QuarantineKeys(Section):
    """Place of files that the policy `quarantine` refuses."""

    directory: str = key("", "Directory for them, outside of every home; empty is no quarantine.")
    max_bytes: int = key(
        10_737_418_240, "Bytes of all files; what does not fit is refused and not kept.", unit="bytes", ge=1
    )
    max_files: int = key(1000, "Files; further ones are refused and not kept.", ge=1, le=100_000)
    days: int = key(30, "After so many days a file is removed; 0 is never.", unit="days", ge=0, le=36_500)
    accept: bool = key(
        False, "Tell clients that an upload has arrived whose file is kept here, instead of refusing it."
    )


_WHEN: Final = ("when_infected", "when_down", "when_slow", "when_too_large", "when_unreadable")


class InspectionKeys(Section):
    """Inspectors, which are asked before an act counts."""

    clamd: ClamdKeys = key(ClamdKeys(), "A virus scan by clamd, asked before the inspectors of the list.")
    icap: IcapKeys = key(IcapKeys(), "A scan by an ICAP server, asked after clamd.")
    folders: list[FolderPolicyKeys] = key(
        [], "Other policies for folders; the deepest folder that sets a policy decides."
    )
    quarantine: QuarantineKeys = key(QuarantineKeys(), "Where refused files are kept.")
    inspectors: list[InspectorKeys] = key(
        [], "Asked in this order before an upload is begun or published, a download, a removal or a login."
    )

    @model_validator(mode="after")
    def _has_a_quarantine(self) -> InspectionKeys:
        if self.quarantine.directory:
            return self
        sections: dict[str, Section] = {"clamd": self.clamd, "icap": self.icap}
        sections |= {f"folders[{index}]": one for index, one in enumerate(self.folders)}
        for name, section in sections.items():
            for policy in _WHEN:
                if getattr(section, policy) == "quarantine":
                    raise ValueError(f"{name}.{policy} quarantine needs quarantine.directory")
        return self
