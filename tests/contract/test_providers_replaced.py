# SPDX-License-Identifier: Apache-2.0
"""Database files that are replaced or removed under a running provider: nothing is acknowledged and lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import plain_account

from tidegate.errors import ProviderUnavailable

DRIVERS = ("sqlite", "bolt")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_replaced_file_is_noticed_before_anything_is_written(
    options_of: OptionsOf, opened: Opened, tmp_path: Path, driver: str
) -> None:
    provider = await opened(options_of(driver))
    await provider.add_user(plain_account("anna"))
    file = tmp_path / f"{driver}.db"
    shutil.copy(file, tmp_path / "backup")
    (tmp_path / "kept").hardlink_to(file)
    (tmp_path / "backup").rename(file)

    for work in (provider.add_user(plain_account("bert")), provider.user("anna"), provider.check()):
        with pytest.raises(ProviderUnavailable, match=f"{driver}.db was replaced by another file"):
            await work
    assert b"bert" not in file.read_bytes()

    (tmp_path / "kept").rename(file)  # the file that is open has its name back
    assert (await provider.user("anna")).username == "anna"
    await provider.add_user(plain_account("carl"))
    assert (await provider.user("carl")).username == "carl"


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_removed_file_is_noticed_and_not_made_again(
    options_of: OptionsOf, opened: Opened, tmp_path: Path, driver: str
) -> None:
    provider = await opened(options_of(driver))
    await provider.add_user(plain_account("anna"))
    (tmp_path / f"{driver}.db").unlink()
    for work in (provider.users(), provider.update_user(plain_account("anna")), provider.check()):
        with pytest.raises(ProviderUnavailable, match=f"{driver}.db is gone"):
            await work
    assert not (tmp_path / f"{driver}.db").exists()
