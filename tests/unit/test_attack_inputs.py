# SPDX-License-Identifier: Apache-2.0
"""Files that were made to break who reads them."""

from __future__ import annotations

import pytest

from tidegate.cli.terminal import read_json
from tidegate.config import formats
from tidegate.errors import ConfigError, InvalidArgument

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"sftpd":{"max_auth_tries":%s}}'),
        ("a.toml", "[sftpd]\nmax_auth_tries = %s\n"),
        ("a.yaml", "sftpd:\n  max_auth_tries: %s\n"),
    ],
)
def test_a_number_without_end_in_a_configuration_is_a_mistake_on_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text % DIGITS)
    with pytest.raises(ConfigError, match="too long"):
        formats.read(tmp_path / name)


def test_a_number_without_end_in_a_document_is_a_mistake_on_one_line(tmp_path):
    (tmp_path / "a.json").write_text(f'{{"uid":{DIGITS}}}')
    with pytest.raises(InvalidArgument, match="too long"):
        read_json(tmp_path / "a.json", "--document")
