# SPDX-License-Identifier: Apache-2.0
"""Homes of new accounts in a bucket: whose prefix is whose."""

from __future__ import annotations

import pytest

from tidegate.accounts.homes import Homes
from tidegate.accounts.rules import Rules
from tidegate.model import StorageConfig

HOMES = Homes(StorageConfig("s3", {"s3config": {"bucket": "b", "key_prefix": "in"}}), "s3config")


def test_a_new_account_gets_a_home_of_its_own() -> None:
    placed = HOMES.place({"username": " Ann "}, Rules(server_dir="/etc/t", naming_rules=7))
    assert placed["home_dir"] == "/etc/t/files/ann"
    assert placed["filesystem"] == {"provider": "s3", "s3config": {"bucket": "b", "key_prefix": "in/ann/"}}


@pytest.mark.parametrize(
    "document",
    [
        {"username": "ann/inbox"},
        {"username": ".."},
        {"username": "ann", "home_dir": "/srv/ann"},
        {"username": "ann", "filesystem": {"provider": 0}},
        {"username": 7},
        {},
    ],
)
def test_what_names_a_home_or_could_lie_in_another_stays(document: dict[str, object]) -> None:
    assert HOMES.place(document, Rules(server_dir="/etc/t")) == document
