# SPDX-License-Identifier: Apache-2.0
"""The answers of explain about amounts are what the server's meters do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import QuotaExceeded, TooLarge
from tidegate.model import (
    TALLY_NAMES,
    Account,
    Filters,
    FolderMount,
    Protocol,
    Tally,
    TallyLimits,
    TransferLimit,
)
from tidegate.policy.amounts import Usage
from tidegate.policy.charges import build_charges, session_tally
from tidegate.policy.explain import explain
from tidegate.policy.quota import BYTES_PER_MB, ChargeSet, require
from tidegate.vfs.usage.live import AccountUsage, FolderUsage

MB = BYTES_PER_MB
# Few and small, so that limits are met, just met and just missed.
LIMIT = st.sampled_from([0, 0, 1, 2, 5, 10])
USED = st.integers(0, 11)
SIZE = st.integers(0, 11)
MEGABYTES = st.sampled_from([0, 0, 1, 2])
MOVED = st.sampled_from([0, 1, MB - 5, MB - 1, MB, MB + 1, 2 * MB - 3, 2 * MB])


@st.composite
def tally_limits(draw: st.DrawFn) -> TallyLimits | None:
    if draw(st.booleans()):
        return None
    return TallyLimits(
        limit_type=draw(st.sampled_from(["hard", "soft"])),
        per_session=draw(st.booleans()),
        **{name: draw(LIMIT) for name in TALLY_NAMES},
    )


@st.composite
def transfer_limits(draw: st.DrawFn) -> TransferLimit:
    """Of a network that the client is in, or of one that it is not in."""
    return TransferLimit(
        sources=(draw(st.sampled_from(["192.0.2.0/24", "10.0.0.0/8"])),),
        upload_data_transfer=draw(MEGABYTES),
        download_data_transfer=draw(MEGABYTES),
        total_data_transfer=draw(MEGABYTES),
    )


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """An account with a folder at /m that counts for itself or in the account."""
    own = draw(st.booleans())
    mount = FolderMount(
        name="m",
        virtual_path="/m",
        quota_size=draw(LIMIT) if own else -1,
        quota_files=draw(LIMIT) if own else -1,
        used_quota_size=draw(USED),
        used_quota_files=draw(USED),
    )
    return Account(
        username="ana",
        home_dir="/srv/ana",
        permissions={"/": ("*",)},
        quota_size=draw(LIMIT),
        quota_files=draw(LIMIT),
        used_quota_size=draw(USED),
        used_quota_files=draw(USED),
        upload_data_transfer=draw(MEGABYTES),
        download_data_transfer=draw(MEGABYTES),
        total_data_transfer=draw(MEGABYTES),
        used_upload_data_transfer=draw(MOVED),
        used_download_data_transfer=draw(MOVED),
        virtual_folders=(mount,),
        filters=Filters(
            max_upload_file_size=draw(LIMIT),
            tally_limits=draw(tally_limits()),
            data_transfer_limits=draw(st.lists(transfer_limits(), max_size=2).map(tuple)),
        ),
        tally=Tally(**{name: draw(USED) for name in TALLY_NAMES}),
    )


def meter_of(account: Account, place: str, track_quota: int) -> ChargeSet:
    mount = account.virtual_folders[0] if place == "/m" else None
    usage = AccountUsage(account)
    folder = None
    if mount is not None:
        folder = FolderUsage(mount.name, mount.used_quota_size, mount.used_quota_files)
    return build_charges(
        track_quota,
        lambda *_: None,
        account,
        usage,
        session_tally(account),
        ip="192.0.2.7",
        mount=mount,
        folder=folder,
    )


def server_refuses(charges: ChargeSet, op: str, size: int, replaced: int | None) -> str | None:
    """The limit by which the server refuses to move a whole file, None if it does not; see vfs/opening.py,
    files.py and copy.py for the order."""
    change = size - (replaced or 0)
    files = 1 if replaced is None else 0
    try:
        match op:
            case "upload":
                charges.may_upload(new=replaced is None, replaced=replaced or 0)
                charges.charge(0, files)
                if size > charges.max_file:
                    raise TooLarge
                charges.charge(change, 0)
                if size:
                    require(charges.up_limits, size)
            case "copy":
                charges.may_upload(new=replaced is None, replaced=replaced or 0)
                charges.may_download()
                if size > charges.max_file:
                    raise TooLarge
                charges.charge(change, files)
            case "download":
                charges.may_download()
                require(charges.down_limits, size, reading=True)
    except QuotaExceeded as error:
        return error.limit
    except TooLarge:
        return "max_upload_file_size"
    return None


def denials(rules: list[Any]) -> set[str]:
    """Names of the limits in steps that refuse."""
    return {step.rule.partition("[")[2].rstrip("]") or step.rule for step in rules if step.verdict == "deny"}


@settings(max_examples=500, deadline=None)
@given(
    account=accounts(),
    op=st.sampled_from(["upload", "copy", "download"]),
    place=st.sampled_from(["/", "/m"]),
    size=SIZE,
    replaced=st.none() | SIZE,
    track_quota=st.sampled_from([0, 1, 2]),
)
def test_explain_says_what_meters_do(  # noqa: PLR0917  one draw is a parameter
    account: Account, op: str, place: str, size: int, replaced: int | None, track_quota: int
) -> None:
    refused_by = server_refuses(meter_of(account, place, track_quota), op, size, replaced)
    file = f"{place.rstrip('/')}/f"
    answer = explain(
        account,
        ip="192.0.2.7",
        protocol=Protocol.SFTP,
        op=op,
        path="/f" if op == "copy" else file,
        target=file if op == "copy" else None,
        now_ms=1_790_000_000_000,
        exists=False if replaced is None else None,
        size=size,
        replaced=replaced,
        usage=Usage(tracked=bool(track_quota)),
    )
    found = denials([row.step for row in answer.rows])
    assert answer.decision.allowed == (refused_by is None), (refused_by, found)
    if refused_by is not None:
        assert refused_by in found


@given(
    account=accounts(),
    place=st.sampled_from(["/", "/m"]),
    new=st.booleans(),
    track_quota=st.sampled_from([1, 2]),
)
def test_an_unknown_size_asks_whether_it_may_begin(
    account: Account, place: str, new: bool, track_quota: int
) -> None:
    account = replace(account, filters=replace(account.filters, max_upload_file_size=0))
    charges = meter_of(account, place, track_quota)
    try:
        charges.may_upload(new=new, replaced=0)
        refused_by = None
    except QuotaExceeded as error:
        refused_by = error.limit
    answer = explain(
        account, ip="192.0.2.7", protocol=Protocol.SFTP, op="upload", path=f"{place.rstrip('/')}/f",
        now_ms=1_790_000_000_000, exists=not new,
    )  # fmt: skip
    assert answer.decision.allowed == (refused_by is None), refused_by
