# SPDX-License-Identifier: Apache-2.0
"""The rules about amounts as `explain` tells them: below the limit, at it, and just over it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.model import Account, BandwidthLimit, Filters, FolderMount, Intent, Tally, TallyLimits, VPath
from tidegate.policy.amounts import (
    Amount,
    Charge,
    Usage,
    amount_steps,
    client_text,
    mount_of,
    original_steps,
    session_step,
)
from tidegate.policy.decision import Step

MB = 1024 * 1024
ANA = Account(username="ana", home_dir="/srv/ana", permissions={"/": ("*",)})
Told = tuple[str, str]
"""Verdict and sentence."""


def steps(
    account: Account,
    intent: Intent = Intent.UPLOAD,
    *,
    size: int | None = None,
    new: bool = True,
    replaced: int = 0,
    where: str = "/a",
    usage: Usage | None = None,
) -> dict[str, Step]:
    """The steps by the rule's name."""
    amount = Amount(intent, VPath.parse(where), size, new, replaced)
    return {step.rule: step for step in amount_steps(account, "192.0.2.7", amount, usage or Usage())}


def told(step: Step) -> Told:
    return step.verdict, step.why


@pytest.mark.parametrize(
    ("limit", "used", "asked", "said"),
    [
        (0, 7, {}, ("pass", "no limit (7 bytes used)")),
        (-1, 7, {"size": 10**12}, ("pass", "no limit (7 bytes used)")),
        (100, 99, {}, ("pass", "99 of 100 bytes are used")),
        (100, 100, {}, ("deny", "100 of 100 bytes are used")),
        (100, 60, {"size": 40}, ("pass", "60 of 100 bytes are used")),
        (100, 60, {"size": 41}, ("deny", "60 of 100 bytes are used, 41 more are wanted")),
        (
            100,
            60,
            {"size": 71, "new": False, "replaced": 30},
            ("deny", "60 of 100 bytes are used, 41 more are wanted"),
        ),
        (100, 60, {"size": 70, "new": False, "replaced": 30}, ("pass", "60 of 100 bytes are used")),
        (100, 100, {"new": False, "replaced": 1}, ("pass", "100 of 100 bytes are used")),
        (100, 101, {"new": False, "replaced": 50}, ("deny", "101 of 100 bytes are used")),
        (100, 100, {"size": 5}, ("deny", "100 of 100 bytes are used, 1 more are wanted")),
    ],
)
def test_bytes(limit: int, used: int, asked: dict[str, Any], said: Told) -> None:
    step = steps(replace(ANA, quota_size=limit, used_quota_size=used), **asked)["quota_size"]
    assert told(step) == said
    assert step.where == "quota_size"
    assert step.hint == ("raise quota_size, or remove files" if said[0] == "deny" else "")


@pytest.mark.parametrize(
    ("limit", "used", "asked", "said"),
    [
        (0, 7, {}, ("pass", "no limit (7 files used)")),
        (3, 2, {}, ("pass", "2 of 3 files are used")),
        (3, 3, {}, ("deny", "3 of 3 files are used")),
        (3, 3, {"size": 1}, ("deny", "3 of 3 files are used, 1 more are wanted")),
        (3, 3, {"new": False}, ("pass", "3 of 3 files are used")),
        (3, 9, {"new": False, "size": 5}, ("pass", "9 of 3 files are used")),
    ],
)
def test_files(limit: int, used: int, asked: dict[str, Any], said: Told) -> None:
    step = steps(replace(ANA, quota_files=limit, used_quota_files=used), **asked)["quota_files"]
    assert told(step) == said
    assert step.where == "quota_files"


def test_both_limits_are_told_apart() -> None:
    full = replace(ANA, quota_size=10, used_quota_size=10, quota_files=2, used_quota_files=1)
    found = steps(full)
    assert told(found["quota_size"]) == ("deny", "10 of 10 bytes are used")
    assert told(found["quota_files"]) == ("pass", "1 of 2 files are used")


def test_folders() -> None:
    mounts = (
        FolderMount(name="shared", virtual_path="/s"),
        FolderMount(name="own", virtual_path="/s/own", quota_size=50, quota_files=2, used_quota_size=9),
    )
    account = replace(ANA, quota_size=10, used_quota_size=3, virtual_folders=mounts)
    assert [mount_of(account, VPath.parse(p)) for p in ("/", "/a", "/s", "/s/a", "/s/own", "/s/own/x", "/so")] == [
        None, None, 0, 0, 1, 1, None,
    ]  # fmt: skip
    turned = replace(account, virtual_folders=mounts[::-1])
    assert [mount_of(turned, VPath.parse(p)) for p in ("/s/a", "/s/own/x")] == [1, 0]

    found = steps(account, where="/s/a")
    assert told(found["quota"]) == ("pass", "folder shared counts in the account's own quota")
    assert found["quota"].where == "virtual_folders[0].quota_size"
    assert told(found["quota_size"]) == ("pass", "3 of 10 bytes are used")
    found = steps(account, where="/s/own/a")
    assert "quota" not in found
    assert told(found["quota_size"]) == ("pass", "9 of 50 bytes are used")
    assert found["quota_size"].where == "virtual_folders[1].quota_size"
    found = steps(account, where="/s/own/a", usage=Usage(folders={"own": Charge(51, 2)}))
    assert told(found["quota_size"]) == ("deny", "51 of 50 bytes are used")
    assert told(found["quota_files"]) == ("deny", "2 of 2 files are used")
    assert found["quota_files"].hint == "raise virtual_folders[1].quota_files, or remove files"


@pytest.mark.parametrize(
    ("limit", "size", "said"),
    [
        (0, 10**15, ("pass", "a file may be of any size")),
        (-1, 5, ("pass", "a file may be of any size")),
        (10, None, ("pass", "a file may have 10 bytes; the size is not known")),
        (10, 10, ("pass", "10 of 10 bytes")),
        (10, 11, ("deny", "a file may have 10 bytes; this one has 11")),
        (1, 1, ("pass", "1 of 1 bytes")),
    ],
)
def test_size_of_a_file(limit: int, size: int | None, said: Told) -> None:
    account = replace(ANA, filters=Filters(max_upload_file_size=limit))
    assert told(steps(account, size=size)["max_upload_file_size"]) == said


@pytest.mark.parametrize(
    ("up", "down", "size", "rule", "said"),
    [
        (2 * MB - 1, 0, None, "upload_data_transfer", ("pass", "1 bytes of the allowance are left")),
        (2 * MB - 1, 0, 1, "upload_data_transfer", ("pass", "1 bytes of the allowance are left")),
        (2 * MB - 1, 0, 2, "upload_data_transfer",
         ("deny", "2097151 of 2097152 bytes of the allowance are used, 2 more are wanted")),
        (2 * MB, 0, None, "upload_data_transfer",
         ("deny", "2097152 of 2097152 bytes of the allowance are used")),
        (0, 3 * MB, None, "total_data_transfer",
         ("deny", "3145728 of 3145728 bytes of the allowance are used")),
    ],
)  # fmt: skip
def test_allowance_of_uploads(up: int, down: int, size: int | None, rule: str, said: Told) -> None:
    account = replace(
        ANA,
        upload_data_transfer=2,
        total_data_transfer=3,
        used_upload_data_transfer=up,
        used_download_data_transfer=down,
    )
    step = steps(account, size=size)[rule]
    assert told(step) == said
    if said[0] == "deny":
        assert step.hint == f"raise {rule}, or reset the transfer usage"
    # Live counters go before stored ones.
    assert (
        steps(account, size=size, usage=Usage(upload=0, download=0))["upload_data_transfer"].verdict == "pass"
    )


def test_allowance_of_downloads_and_of_the_original_of_a_copy() -> None:
    account = replace(ANA, download_data_transfer=1, used_download_data_transfer=MB - 1)
    download = steps(account, Intent.DOWNLOAD, size=1)
    assert set(download) == {"download_data_transfer", "bandwidth"}
    assert told(download["download_data_transfer"]) == ("pass", "1 bytes of the allowance are left")
    assert steps(account, Intent.DOWNLOAD, size=2)["download_data_transfer"].verdict == "deny"
    assert steps(account, Intent.STAT) == {}
    amount = Amount(Intent.COPY, VPath.parse("/a"), 10**9, True)
    original = list(original_steps(account, "192.0.2.7", amount, Usage()))
    assert [(step.rule, step.verdict) for step in original] == [("download_data_transfer", "pass")]
    spent = replace(account, used_download_data_transfer=MB)
    assert [step.verdict for step in original_steps(spent, "192.0.2.7", amount, Usage())] == ["deny"]
    assert list(original_steps(account, "192.0.2.7", replace(amount, intent=Intent.UPLOAD), Usage())) == []
    # A copy is no traffic: of the allowance it is asked only whether an upload may begin.
    copy = steps(replace(ANA, upload_data_transfer=1), Intent.COPY, size=10 * MB)
    assert told(copy["upload_data_transfer"]) == ("pass", f"{MB} bytes of the allowance are left")
    assert "bandwidth" not in copy


@pytest.mark.parametrize(
    ("kind", "used", "asked", "said"),
    [
        ("hard", Tally(bytes_in=9), {"size": 1}, ("pass", "no hard limit is reached")),
        ("hard", Tally(bytes_in=9), {"size": 2}, ("deny", "9 of 10 are used (hard limit)")),
        ("soft", Tally(bytes_in=9), {"size": 2}, ("pass", "no soft limit is reached")),
        ("soft", Tally(bytes_in=10), {}, ("deny", "10 of 10 are used (soft limit)")),
        ("hard", Tally(bytes_in=10), {"replaced": 1, "new": False}, ("pass", "no hard limit is reached")),
        ("hard", Tally(bytes_in=5), {"size": 9, "replaced": 4, "new": False}, ("pass", "no hard limit is reached")),
        ("hard", Tally(bytes_in=5), {"size": 10, "replaced": 4, "new": False},
         ("deny", "5 of 10 are used (hard limit)")),
    ],
)  # fmt: skip
def test_tally(kind: Any, used: Tally, asked: dict[str, Any], said: Told) -> None:
    limits = TallyLimits(bytes_in=10, limit_type=kind)
    account = replace(ANA, filters=Filters(tally_limits=limits), tally=used)
    found = steps(account, **asked)
    rule = "tally_limits" if said[0] == "pass" else "tally_limits[bytes_in]"
    assert told(found[rule]) == said
    assert steps(account, usage=Usage(tally=Tally()))["tally_limits"].verdict == "pass"


def test_tally_of_files_and_of_downloads() -> None:
    limits = TallyLimits(files_in=2, bytes_out=10, limit_type="hard")
    account = replace(ANA, filters=Filters(tally_limits=limits), tally=Tally(files_in=2, bytes_out=9))
    assert steps(account)["tally_limits[files_in]"].verdict == "deny"
    assert steps(account, new=False)["tally_limits"].verdict == "pass"
    assert steps(account, Intent.DOWNLOAD, size=1, new=False)["tally_limits"].verdict == "pass"
    assert steps(account, Intent.DOWNLOAD, size=2, new=False)["tally_limits[bytes_out]"].verdict == "deny"
    assert "tally_limits" not in steps(ANA)


def test_bandwidth() -> None:
    limit = BandwidthLimit(sources=("192.0.2.0/24",), upload_bandwidth=30)
    account = replace(ANA, upload_bandwidth=7, filters=Filters(bandwidth_limits=(limit,)))
    step = steps(account)["bandwidth"]
    assert (step.why, step.where) == (
        "upload is limited to 30 KB/s",
        "filters.bandwidth_limits[0].upload_bandwidth",
    )
    step = steps(account, Intent.DOWNLOAD)["bandwidth"]
    assert step.why == "download is not limited"
    step = steps(replace(ANA, upload_bandwidth=7))["bandwidth"]
    assert (step.why, step.where) == ("upload is limited to 7 KB/s", "upload_bandwidth")


def test_nothing_is_asked_where_nothing_is_counted() -> None:
    full = replace(
        ANA, quota_size=1, used_quota_size=9, upload_data_transfer=1, used_upload_data_transfer=9 * MB
    )
    found = steps(full, usage=Usage(tracked=False))
    for rule in ("quota", "upload_data_transfer"):
        assert told(found[rule]) == ("pass", "nothing is counted (data_provider.track_quota is 0)")
    assert "quota_size" not in found


@pytest.mark.parametrize(
    ("limit", "open_now", "said"),
    [
        (0, 99, ("pass", "99 of any number of sessions are open")),
        (-1, 99, ("pass", "99 of any number of sessions are open")),
        (2, 1, ("pass", "1 of 2 sessions are open")),
        (2, 2, ("deny", "2 of 2 sessions are open")),
        (1, 0, ("pass", "0 of 1 sessions are open")),
        (1, 3, ("deny", "3 of 1 sessions are open")),
    ],
)
def test_sessions(limit: int, open_now: int, said: Told) -> None:
    step = session_step(replace(ANA, max_sessions=limit), Usage(sessions=open_now))
    assert step is not None
    assert told(step) == said
    assert session_step(ANA, Usage()) is None


def test_texts_for_clients() -> None:
    assert client_text("quota_size", Intent.UPLOAD) == "denying write due to space limit: quota_size"
    assert client_text("quota_size", Intent.COPY) == "denying write due to space limit: quota_size"
    assert (
        client_text("tally_limits[bytes_out]", Intent.DOWNLOAD)
        == "denying read due to quota limit: bytes_out"
    )
    assert client_text("max_upload_file_size", Intent.UPLOAD) == "file too large: max_upload_file_size"
