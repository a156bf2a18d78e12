# SPDX-License-Identifier: Apache-2.0
"""A context for each connection: the pair of today, and the one in use while the files do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.certificates import certificate

from tidegate.doors.common.tls import Certificate
from tidegate.errors import ConfigError


async def test_a_renewal_in_the_middle_ends_nobody(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "localhost"), tmp_path / "key.pem"
    pair = Certificate(pem, key, min_version=12, label="ftpd.bindings[0]")
    await pair.load()
    first, second = await pair.fresh_context(), await pair.fresh_context()
    assert first is not second and pair.context not in (first, second)

    key.write_text("half of a key")

    assert await pair.fresh_context() is pair.context


async def test_without_any_pair_it_says_so(tmp_path: Path) -> None:
    pair = Certificate(tmp_path / "none", tmp_path / "none", min_version=12, label="ftpd.bindings[0]")
    with pytest.raises(ConfigError, match="cannot be read"):
        await pair.fresh_context()
