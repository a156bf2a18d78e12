# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the keys about addresses are named, when the file is read and when it is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.blocklists import silent_server
from tests.support.geo_databases import country, write_database

from tidegate.cli.check_addresses import addresses
from tidegate.config.load import Loaded, load
from tidegate.errors import ConfigError, Problem


def loaded(place: Path, **common: Any) -> Loaded:
    (place / "tidegate.json").write_text(json.dumps({"common": common}))
    return load(place, "tidegate", {})


@pytest.mark.parametrize(
    ("common", "text"),
    [
        ({"geoip": {"denied_countries": ["CN"]}}, "databases: is empty"),
        ({"geoip": {"databases": ["x"], "denied_countries": ["UK"]}}, "'UK' is no country code"),
        ({"geoip": {"databases": ["x"], "allowed_asns": [0]}}, "0 is no number of an autonomous system"),
        ({"dnsbl": {"zones": [{"zone": "bl..test"}]}}, "common.dnsbl.zones[0].zone"),
        ({"dnsbl": {"zones": [{"name": "x"}]}}, "one has no zone"),
        ({"dnsbl": {"zones": [{"zone": "a.test"}, {"zone": "a.test"}]}}, "a.test is there twice"),
        ({"dnsbl": {"zones": [{"zone": "a.test", "codes": {"10.0.0.1": "x"}}]}}, "'10.0.0.1' is no address"),
        ({"dnsbl": {"nameservers": ["dns.example"]}}, "'dns.example' is no address of a name server"),
        ({"dnsbl": {"nameservers": ["192.0.2.1:0"]}}, "'192.0.2.1:0' is no address of a name server"),
        ({"list_files": [{"path": "x", "list": "grey"}]}, "common.list_files[0].list"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, common: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, **common)
    assert text in str(caught.value)


def test_name_servers_have_ports(tmp_path: Path) -> None:
    keys = loaded(
        tmp_path, dnsbl={"nameservers": ["192.0.2.1", "192.0.2.2:5353", "2001:db8::1", "[2001:db8::2]:54"]}
    )
    assert keys.settings.common.dnsbl.servers() == [
        ("192.0.2.1", 53),
        ("192.0.2.2", 5353),
        ("2001:db8::1", 53),
        ("2001:db8::2", 54),
    ]


def told(place: Path, **common: Any) -> tuple[list[str], list[str]]:
    """Facts and problems that `tidegate check` tells."""
    problems: list[Problem] = []
    facts = list(addresses(loaded(place, **common), problems, lambda *path: ".".join(map(str, path))))
    return facts, [str(problem) for problem in problems]


def test_check_reads_the_files_and_asks_the_blocklists(tmp_path: Path) -> None:
    write_database(tmp_path / "good.mmdb", {"192.0.2.0/24": country("DE")}, kind="Countries")
    (tmp_path / "bad.mmdb").write_text("no database")
    (tmp_path / "block").write_text("192.0.2.1\nnonsense\n")
    with silent_server() as deaf:
        facts, problems = told(
            tmp_path,
            geoip={"databases": ["good.mmdb", "bad.mmdb"], "broken": "go_on"},
            list_files=[{"path": "block"}, {"path": "missing", "broken": "go_on"}],
            dnsbl={"zones": [{"zone": "a.test"}], "nameservers": [f"127.0.0.1:{deaf}"], "timeout": 100},
        )
    assert facts[0].startswith(f"locations: {tmp_path / 'good.mmdb'} (Countries of 20")
    assert facts[1:] == [f"list file: {tmp_path / 'block'}: 1 entries, 1 wrong lines"]
    assert problems[0].startswith(f"common.geoip.databases: {tmp_path / 'bad.mmdb'}: ")
    assert problems[1] == f"common.list_files: {tmp_path / 'missing'}: No such file or directory"
    assert problems[2].startswith("common.dnsbl.zones: a.test: it does not answer: ")


def test_what_stops_a_start_is_a_problem(tmp_path: Path) -> None:
    facts, problems = told(tmp_path, geoip={"databases": ["missing.mmdb"]}, list_files=[{"path": "missing"}])
    assert facts == []
    assert [problem.partition(":")[0] for problem in problems] == [
        "common.geoip.databases",
        "common.list_files",
    ]
