# SPDX-License-Identifier: Apache-2.0
"""A copy on the server begins only where a client could have downloaded and uploaded the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import GET, PUT, World, get, names, p, put, vfs_world

from tidegate import errors as e
from tidegate.events.kinds import Refused
from tidegate.model import Protocol, TallyLimits
from tidegate.policy.explain import explain
from tidegate.policy.quota import BYTES_PER_MB


def _agrees(world: World, rule: str, text: str) -> None:
    """Explain refuses the copy by the same limit and in the same words."""
    answer = explain(
        world.store.accounts["alice"], ip="192.0.2.7", protocol=Protocol.SFTP, op="copy", path="/a", target="/c",
        now_ms=1_790_000_000_000, size=400,
    )  # fmt: skip
    assert answer.decided_by is not None
    assert answer.decided_by.where.endswith(rule)
    assert answer.decision.text.partition(":")[0] == text.partition(":")[0]


@pytest.mark.parametrize("limit_type", ["hard", "soft"])
@pytest.mark.parametrize(
    "limits",
    [{"bytes_in": 400}, {"bytes_xfer": 400}, {"files_in": 1}, {"files_xfer": 1}],
    ids=lambda limits: next(iter(limits)),
)
async def test_a_limit_that_is_reached_refuses_the_copy_as_it_refuses_the_upload(
    tmp_path: Path, limit_type: Any, limits: dict[str, int]
) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(filters={"tally_limits": TallyLimits(limit_type=limit_type, **limits)})
        session = await world.login()
        await put(session, "/a", b"a" * 400)
        with pytest.raises(e.QuotaExceeded) as upload:
            await session.open(p("/c"), PUT)

        with pytest.raises(e.QuotaExceeded) as copy:
            await session.copy(p("/a"), p("/c"), replace=False)

        assert copy.value.rule == upload.value.rule
        assert copy.value.text == upload.value.text
        assert world.of(Refused)[-1].rule == upload.value.rule
        assert await names(session) == {"a"}
        await world.vfs.tracker.settle()
        _agrees(world, copy.value.rule, copy.value.text)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        (
            {"filters": {"tally_limits": TallyLimits(limit_type="soft", files_out=1)}},
            "tally_limits.files_out",
        ),
        (
            {"filters": {"tally_limits": TallyLimits(limit_type="soft", bytes_out=9)}},
            "tally_limits.bytes_out",
        ),
        ({"download_data_transfer": 1}, "download_data_transfer"),
    ],
    ids=["files_out", "bytes_out", "allowance"],
)
async def test_what_may_not_be_downloaded_any_more_is_not_copied(
    tmp_path: Path, fields: dict[str, Any], rule: str
) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(**fields)
        session = await world.login()
        size = BYTES_PER_MB if "download_data_transfer" in fields else 400
        await put(session, "/a", b"a" * size)
        await session.copy(p("/a"), p("/b"), replace=False)
        await get(session, "/a")
        with pytest.raises(e.QuotaExceeded) as download:
            await session.open(p("/a"), GET)

        with pytest.raises(e.QuotaExceeded) as copy:
            await session.copy(p("/a"), p("/c"), replace=False)

        assert (copy.value.rule, copy.value.text) == (download.value.rule, download.value.text)
        assert await names(session) == {"a", "b"}
        await world.vfs.tracker.settle()
        _agrees(world, rule, copy.value.text)


async def test_a_copy_counts_as_growth_and_not_as_traffic(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(
            quota_size=10_000,
            total_data_transfer=1,
            filters={"tally_limits": TallyLimits(bytes_in=5000, files_out=5, bytes_out=5000)},
        )
        session = await world.login()
        await put(session, "/a", b"a" * 400)
        await session.copy(p("/a"), p("/b"), replace=False)
        await session.copy(p("/a"), p("/b"), replace=True)
        assert await world.used() == (800, 2)
        account = world.store.accounts["alice"]
        assert (account.tally.bytes_in, account.tally.bytes_out, account.tally.files_out) == (800, 0, 0)
        assert (account.used_upload_data_transfer, account.used_download_data_transfer) == (400, 0)


async def test_moving_to_another_folder_is_no_copy(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        limits = TallyLimits(limit_type="soft", files_out=1)
        world.account(
            virtual_folders=(world.mount("m", "/m"),),
            filters={"tally_limits": limits},
        )
        session = await world.login()
        await put(session, "/a", b"a" * 400)
        await get(session, "/a")
        await session.rename(p("/a"), p("/m/a"), replace=False)
        assert await names(session, "/m") == {"a"}
