# SPDX-License-Identifier: Apache-2.0
"""Cross-origin requests: what is allowed, header by header (Fetch standard, section 3.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.doors.http.cross_origin import MAX_NAMES, CrossOrigin, Ruling

APP = "https://app.example.com"
SOME = CrossOrigin(
    origins=(APP, "https://*.example.org"),
    methods=frozenset(("GET", "PUT", "POST", "PROPFIND")),
    names=frozenset(("authorization", "depth")),
    exposed=("ETag", "DAV"),
    max_age_seconds=600,
)
EVERY = replace(SOME, origins=("*",))


def judged(rules: CrossOrigin, method: str, **headers: str) -> tuple[dict[str, str], Ruling]:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    ruling = rules.judge(method, given)
    return {name.decode(): value.decode() for name, value in ruling.headers}, ruling


def preflight(rules: CrossOrigin, method: str, origin: str = APP, names: str = "") -> dict[str, str]:
    more = {"access_control_request_headers": names} if names else {}
    found, ruling = judged(rules, "OPTIONS", origin=origin, access_control_request_method=method, **more)
    assert ruling.preflight == rules.status
    assert not ruling.permitted
    assert found.pop("vary").startswith("Origin, Access-Control-Request-Method")
    return found


def test_what_is_allowed_is_named() -> None:
    assert preflight(SOME, "PUT", names="Authorization,Depth , Content-Type") == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "authorization, depth, content-type",
        "access-control-max-age": "600",
    }


@pytest.mark.parametrize(
    ("method", "origin", "names"),
    [
        ("DELETE", APP, ""),
        ("put", APP, ""),
        ("PUT", "https://app.example.com.evil.net", ""),
        ("PUT", "http://app.example.com", ""),
        ("PUT", "null", ""),
        ("PUT", "", ""),
        ("PUT", APP, "X-Other"),
        ("PUT", APP, ",".join(["depth"] * (MAX_NAMES + 1))),
    ],
)
def test_a_refusal_allows_nothing(method: str, origin: str, names: str) -> None:
    assert preflight(SOME, method, origin, names) == {}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example.org", True),
        ("HTTPS://A.B.Example.ORG", True),
        ("https://example.org", False),
        ("https://evil.net/.example.org", False),
        ("https://evil.net#.example.org", False),
        ("https://user@x.example.org", False),
        ("https://.example.org", True),  # no browser sends it
    ],
)
def test_one_star_stands_for_a_part_of_a_host(origin: str, allowed: bool) -> None:
    found, ruling = judged(SOME, "PUT", origin=origin)
    assert (found.get("access-control-allow-origin") == origin) is allowed
    assert ruling.permitted is allowed


def test_answers_name_what_may_be_read() -> None:
    found, ruling = judged(SOME, "PROPFIND", origin=APP)
    assert found == {
        "vary": "Origin", "access-control-allow-origin": APP, "access-control-expose-headers": "ETag, DAV",
    }  # fmt: skip
    assert (ruling.preflight, ruling.permitted) == (0, True)


def test_requests_without_an_origin_are_as_before_but_differ_by_it() -> None:
    found, ruling = judged(SOME, "PUT")
    assert (found, ruling.permitted) == ({"vary": "Origin"}, False)


def test_two_origins_are_none() -> None:
    ruling = SOME.judge("PUT", [(b"origin", APP.encode()), (b"origin", APP.encode())])
    assert not ruling.permitted


@pytest.mark.parametrize(
    ("rules", "method", "permitted"),
    [
        (SOME, "PUT", True),
        # A form of any page sends POST unasked, and the browser adds the login that it remembers.
        (SOME, "POST", False),
        (replace(SOME, credentials=True), "POST", True),
        (replace(EVERY, credentials=True), "POST", False),
        (replace(EVERY, credentials=True), "PUT", True),
    ],
)
def test_what_no_browser_asks_about_needs_trust(rules: CrossOrigin, method: str, permitted: bool) -> None:
    assert judged(rules, method, origin=APP)[1].permitted is permitted


def test_credentials_are_never_for_everybody() -> None:
    mine = preflight(replace(SOME, credentials=True), "PUT")
    assert (mine["access-control-allow-origin"], mine["access-control-allow-credentials"]) == (APP, "true")
    theirs = preflight(replace(EVERY, credentials=True), "PUT")
    assert theirs["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in theirs


def test_any_header_where_a_star_says_so() -> None:
    assert preflight(replace(SOME, names=frozenset("*")), "PUT", names="x-a")[
        "access-control-allow-headers"
    ] == "x-a"  # fmt: skip


@pytest.mark.parametrize(("seconds", "told"), [(0, None), (-1, "0"), (5, "5")])
def test_how_long_it_is_remembered(seconds: int, told: str | None) -> None:
    assert preflight(replace(SOME, max_age_seconds=seconds), "PUT").get("access-control-max-age") == told


def test_private_networks_are_a_permission_of_their_own() -> None:
    asked = {
        "origin": APP,
        "access_control_request_method": "PUT",
        "access_control_request_private_network": "true",
    }
    name = "access-control-allow-private-network"
    assert name not in judged(SOME, "OPTIONS", **asked)[0]
    assert judged(replace(SOME, private_network=True), "OPTIONS", **asked)[0][name] == "true"


def test_the_application_answers_where_it_is_passed_on() -> None:
    found, ruling = judged(
        replace(SOME, passes=True), "OPTIONS", origin=APP, access_control_request_method="PUT"
    )
    assert ruling.preflight == 0
    assert found["access-control-allow-methods"] == "PUT"


def test_options_without_a_question_is_no_preflight() -> None:
    assert judged(SOME, "OPTIONS", origin=APP)[1].preflight == 0
