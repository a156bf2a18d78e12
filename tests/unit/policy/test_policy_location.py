# SPDX-License-Identifier: Apache-2.0
"""The rule of an account about where the client is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.accounts import plain_account

from tidegate.errors import BadRecord
from tidegate.model import Filters
from tidegate.model.geography import NO_LOCATION, GeoRules, Location
from tidegate.policy.decision import Step
from tidegate.policy.login import check_login, refusal
from tidegate.store.documents import decode_account, encode_account

CHINA = Location("CN", "AS", 4134, "Net")
AWAY = "198.51.100.7"


def step(rules: GeoRules, location: Location, ip: str = AWAY) -> Step:
    account = plain_account("ana", filters=Filters(geoip=rules))
    steps = check_login(
        account, protocol="SFTP", method="publickey", ip=ip, now_ms=1, location=location, stop=False
    )
    (found,) = (one for one in steps if one.rule.partition("[")[0] == "geoip")
    refused = refusal(steps)
    assert (refused is not None and refused.reason == "geoip") == (found.verdict == "deny")
    return found


def test_the_rule_tells_entry_place_and_what_to_do() -> None:
    found = step(GeoRules(denied_countries=("RU", "CN")), CHINA)
    assert (found.rule, found.verdict, found.where) == ("geoip[CN]", "deny", "filters.geoip.denied_countries")
    assert found.why == "198.51.100.7 is in CN, AS, AS4134 Net"
    assert found.hint == "remove CN from filters.geoip.denied_countries"
    found = step(GeoRules(allowed_continents=("EU",)), CHINA)
    assert (found.rule, found.verdict, found.hint) == (
        "geoip",
        "deny",
        "add to filters.geoip.allowed_continents",
    )
    assert step(GeoRules(allowed_asns=(4134,)), CHINA).verdict == "allow"
    assert step(GeoRules(denied_countries=("RU",)), CHINA).verdict == "pass"


def test_without_a_database_who_has_to_come_from_somewhere_stays_out() -> None:
    found = step(GeoRules(allowed_countries=("DE",)), NO_LOCATION)
    assert (found.verdict, found.where) == ("deny", "filters.geoip.unknown")
    assert "common.geoip.databases" in found.hint
    assert step(GeoRules(denied_countries=("CN",)), NO_LOCATION).verdict == "pass"
    assert step(GeoRules(allowed_countries=("DE",)), NO_LOCATION, "10.0.0.1").verdict == "pass"


def test_documents_keep_the_rules_and_leave_none_out(tmp_path: Path) -> None:
    document = {
        "username": "ana",
        "home_dir": str(tmp_path),
        "permissions": {"/": ["*"]},
        "filters": {"geoip": {"allowed_countries": ["DE", "AT"], "denied_asns": [64500], "unknown": "deny"}},
    }
    account = decode_account(document)
    assert account.filters.geoip == GeoRules(
        allowed_countries=("DE", "AT"), denied_asns=(64500,), unknown="deny"
    )
    shown = encode_account(account, confidential=False)
    assert shown["filters"]["geoip"]["allowed_countries"] == ["DE", "AT"]
    assert decode_account(shown | {"password": ""}, base=account).filters.geoip == account.filters.geoip
    assert "geoip" not in encode_account(plain_account("bea"), confidential=True)["filters"]


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"denied_countries": ["UK"]}, "filters.geoip.denied_countries"),
        ({"allowed_continents": ["EUROPE"]}, "filters.geoip.allowed_continents"),
        ({"denied_asns": [0]}, "filters.geoip.denied_asns"),
        ({"unknown": "maybe"}, "filters.geoip.unknown"),
        ({"countries": ["DE"]}, "filters.geoip.countries"),
    ],
)
def test_mistakes_are_named(rules: dict[str, object], field: str) -> None:
    document = {
        "username": "a",
        "home_dir": "/srv/a",
        "permissions": {"/": ["*"]},
        "filters": {"geoip": rules},
    }
    with pytest.raises(BadRecord) as caught:
        decode_account(document)
    assert caught.value.field == field
