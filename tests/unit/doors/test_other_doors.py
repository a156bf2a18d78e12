# SPDX-License-Identifier: Apache-2.0
"""Doors of other packages: how they are found, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.errors import ConfigError
from tidegate.model import Account, Filters, OtherProtocol
from tidegate.policy.login import check_login, refusal
from tidegate.server.other_doors import check_doors
from tidegate.server.wiring import keys_that_wait

PACKAGE = Path(__file__).parents[2] / "third_party" / "door"


def loaded(*doors: dict[str, Any]) -> Loaded:
    return Loaded(Settings.model_validate({"doors": {"others": list(doors)}}))


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))


@pytest.mark.parametrize(
    ("door", "text"),
    [
        ({"use": "none"}, "doors.others[0].use: 'none' cannot be used: no door 'none' is installed; there are: lines"),
        ({"use": "tidegate_lines:Nothing"}, "doors.others[0].use: 'tidegate_lines:Nothing' cannot be used: "),
        ({"use": "tidegate_lines.wire:parse"}, "expected a dataclass `options` beside it"),
        ({"use": "no.such.module:Door"}, "ModuleNotFoundError: No module named 'no'"),
        ({"use": "lines", "options": {"port": "many"}}, "doors.others[0].options.port: input should be a valid integer"),
        ({"use": "lines", "options": {"port": 1, "adress": ""}}, "doors.others[0].options.adress: unknown key; did you mean address?"),
        ({"use": "lines", "options": {}}, "doors.others[0].options.port: field required"),
        ({"use": "lines", "name": "sftp"}, "doors.others[0].name: the name 'sftp' is taken"),
        ({"use": ""}, "doors.others[0].use: name an installed door or package.module:name"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key(door: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_doors(loaded(door))
    (problem,) = caught.value.problems
    assert text in str(problem)
    assert "\n" not in str(problem)


def test_mistakes_of_all_doors_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        check_doors(loaded({"use": "lines", "options": {}}, {"use": "no:Door"}))
    assert len(caught.value.problems) == 2


def test_names() -> None:
    options = {"options": {"port": 1}}
    assert check_doors(loaded({"use": "lines", **options})) == ["lines"]
    assert check_doors(loaded({"use": "tidegate_lines:LinesDoor", **options})) == ["linesdoor"]
    doors = [{"use": "lines", "name": name, **options} for name in ("one", "two")]
    assert check_doors(loaded(*doors)) == ["one", "two"]
    with pytest.raises(ConfigError, match="the name 'one' is taken"):
        check_doors(loaded(doors[0], doors[0]))
    assert check_doors(loaded({"use": "not there", "enabled": False})) == []


def test_what_needs_a_restart_is_told() -> None:
    before = loaded({"use": "lines", "options": {"port": 1}})
    assert keys_that_wait(before, loaded({"use": "lines", "options": {"port": 2}})) == []
    assert keys_that_wait(before, loaded({"use": "lines", "counts_as": "DAV"})) == ["doors.others"]
    assert keys_that_wait(before, loaded()) == ["doors.others"]


@pytest.mark.parametrize("family", ["SSH", "FTP", "DAV", "HTTP"])
def test_rules_know_another_protocol_by_its_family(family: str) -> None:
    protocol = OtherProtocol("LINES", family)
    assert (protocol, protocol.value, protocol.family) == ("LINES", "LINES", family)
    for denied in (("SSH", "FTP", "DAV", "HTTP"), (family,), ()):
        account = Account(username="a", filters=Filters(denied_protocols=denied))
        steps = check_login(account, protocol=protocol, method="password", ip="192.0.2.1", now_ms=0)
        refused = refusal(steps)
        assert (refused is not None and refused.reason == "protocol") == bool(denied)
