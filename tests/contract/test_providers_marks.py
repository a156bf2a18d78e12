# SPDX-License-Identifier: Apache-2.0
"""Marks of accounts by server, in every provider."""

from __future__ import annotations

import pytest

from tidegate.errors import NotFound
from tidegate.model import Account


async def test_marks_belong_to_servers(provider) -> None:
    for name in ("ana", "bob"):
        await provider.add_user(Account(username=name, home_dir=f"/srv/{name}"))
    await provider.mark_usage("ana", dirty=True, server="one")
    await provider.mark_usage("ana", dirty=True, server="one")
    await provider.mark_usage("ana", dirty=True, server="two")
    await provider.mark_usage("ana", dirty=True)
    await provider.mark_usage("bob", dirty=True, server="two")
    assert await provider.usage_marks() == [("ana", ""), ("ana", "one"), ("ana", "two"), ("bob", "two")]
    assert await provider.dirty_usage() == ["ana", "bob"]
    await provider.mark_usage("ana", dirty=False, server="one")
    await provider.mark_usage("ana", dirty=False)
    await provider.mark_usage("ana", dirty=False, server="three")
    assert await provider.usage_marks() == [("ana", "two"), ("bob", "two")]
    with pytest.raises(NotFound):
        await provider.mark_usage("cyd", dirty=True, server="one")
    await provider.delete_user("ana")
    assert await provider.usage_marks() == [("bob", "two")]
