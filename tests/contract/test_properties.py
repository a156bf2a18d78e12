# SPDX-License-Identifier: Apache-2.0
"""Dead properties of every provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.contract.conftest import Opened, OptionsOf

from tidegate.errors import QuotaExceeded
from tidegate.model.properties import Properties, PropertyLimits, PropertyPatch, PropertyStore
from tidegate.store.contract import Provider

LIMITS = PropertyLimits(count=5, name_chars=100, value_bytes=1000, resource_bytes=2100, account_bytes=6000)
ONE: Properties = {("DAV:", "x"): b"<a xmlns='b'>\x00\xff</a>"}
ODD = "file:/srv/caf\u00e9 %41/\udcff\udc80/a_b"
LONG = "file:/" + "/".join(["d" * 200] * 15)


async def put(
    store: PropertyStore, place: str, sets: Properties = ONE, *, account: str = "eva", **fields: Any
) -> None:
    change = PropertyPatch(place=place, root="file:/srv", account=account, sets=sets, **fields)
    await store.patch(change, LIMITS)


def one(value: bytes) -> Properties:
    return {("n", "v"): value}


async def everything(store: PropertyStore, *places: str) -> dict[str, bytes]:
    """The value of each place that has one."""
    found = {place: await store.get(place) for place in places}
    return {place: next(iter(values.values())) for place, values in found.items() if values}


async def test_properties_are_set_and_removed(provider: Provider) -> None:
    store = provider.properties
    assert await store.get("file:/srv/a") == {}
    first = {("DAV:", "x"): b"1", ("", "y"): b"", ("urn:\u00e9", "\u00fc"): b"<z/>"}
    await put(store, "file:/srv/a", first)
    assert await store.get("file:/srv/a") == first
    await put(store, "file:/srv/a", {("DAV:", "x"): b"2"}, removes=[("", "y"), ("", "none")])
    assert await store.get("file:/srv/a") == {("DAV:", "x"): b"2", ("urn:\u00e9", "\u00fc"): b"<z/>"}
    await put(store, "file:/srv/a", {}, removes=[("DAV:", "x"), ("urn:\u00e9", "\u00fc")])
    assert await store.get("file:/srv/a") == {}
    assert await store.places("file:/srv", "", 10) == []


@pytest.mark.parametrize("place", [ODD, LONG, LONG + "/\udcff"])
async def test_any_name_is_a_place(provider: Provider, place: str) -> None:
    store = provider.properties
    await put(store, place)
    await put(store, f"{place}/in/it", one(b"below"))
    assert await store.get(place) == ONE
    name = place.rpartition("/")[2]
    assert await store.of_children(place.rpartition("/")[0]) == {name: ONE}
    await store.move(place, "file:/srv/new", "file:/srv")
    assert await everything(store, place, f"{place}/in/it") == {}
    assert await store.get("file:/srv/new/in/it") == one(b"below")
    await store.move("file:/srv/new", place, "file:/srv")
    assert await store.get(f"{place}/in/it") == one(b"below")
    assert sorted(await store.places(place, "", 10)) == [place, f"{place}/in/it"]
    await store.remove(place)
    assert await everything(store, place, f"{place}/in/it") == {}


async def test_children_of_a_directory_in_one_query(provider: Provider) -> None:
    store = provider.properties
    for place in ("d", "d/a", "d/b", "d/b/c", "d-e", "d-e/a", "D/a"):
        await put(store, f"file:/srv/{place}", one(place.encode()))
    assert await store.of_children("file:/srv/d") == {"a": one(b"d/a"), "b": one(b"d/b")}
    assert await store.of_children("file:/srv/none") == {}


async def test_a_tree_moves_and_nothing_beside_it(provider: Provider) -> None:
    store = provider.properties
    around = ("d-e", "d0", "dd", "d%2F", "D", "d_")
    for place in ("d", "d/a", "d/b/c", *around, "old", "old/gone", "older"):
        await put(store, f"file:/srv/{place}", one(place.encode()))

    await store.move("file:/srv/d", "file:/srv/old", "file:/srv")

    assert (
        await everything(store, *(f"file:/srv/{place}" for place in ("d", "d/a", "d/b/c", "old/gone"))) == {}
    )
    found = {
        place: await store.get(f"file:/srv/{place}")
        for place in ("old", "old/a", "old/b/c", "older", *around)
    }
    assert found == {
        "old": one(b"d"),
        "old/a": one(b"d/a"),
        "old/b/c": one(b"d/b/c"),
        "older": one(b"older"),
        **{place: one(place.encode()) for place in around},
    }


async def test_a_large_tree_moves_in_one_piece(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.store.sql.properties.ROWS_AT_ONCE", 10)
    store = provider.properties
    limits = PropertyLimits()
    for number in range(25):
        change = PropertyPatch(place=f"file:/srv/d/{number}", root="r", account="eva", sets=one(b"x"))
        await store.patch(change, limits)
    await store.move("file:/srv/d", "file:/srv/e/longer", "r")
    assert len(await store.of_children("file:/srv/e/longer")) == 25
    assert await store.of_children("file:/srv/d") == {}
    await store.move("file:/srv/e", "file:/srv/e", "r")
    await store.move("file:/srv/e", "file:/srv/e/in/itself", "r")  # no storage does that
    assert len(await store.of_children("file:/srv/e/longer")) == 25


async def test_a_tree_is_copied_and_the_source_keeps_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.store.sql.properties.ROWS_AT_ONCE", 2)
    store = provider.properties
    tree = ("d", "d/a", "d/b/c", "d/e", "d/f/\udcff")
    for place in (*tree, "d-e", "new/gone"):
        await put(store, f"file:/srv/{place}", one(b"." * 800), account="bob")
    await put(store, "file:/srv/d/a", one(b"of eva"))
    everywhere = [f"{root}{place[1:]}" for root in ("file:/srv/d", "s3#b/home") for place in tree]
    for _ in range(2):
        await store.copy_tree("file:/srv/d", "s3#b/home", "s3#b/home")
        assert len(await everything(store, *everywhere)) == 2 * len(tree)
        assert sorted(await store.places("s3#b/home", "", 10)) == sorted(everywhere[len(tree) :])
    assert await store.get("s3#b/home/a") == one(b"of eva")
    with pytest.raises(QuotaExceeded):  # bob is charged for both
        await put(store, "file:/srv/more", one(b""), account="bob")
    await store.copy_tree("file:/srv/d", "file:/srv/new", "file:/srv")
    assert await store.get("file:/srv/new/gone") == {}
    for inner, outer in (("file:/srv/d", "file:/srv/d/a"), ("file:/srv/d/a", "file:/srv/d")):
        await store.copy_tree(inner, outer, "file:/srv")
    assert len(await everything(store, *everywhere)) == 2 * len(tree)
    await store.copy_tree("file:/srv/none", "file:/srv/new", "file:/srv")
    assert await store.places("file:/srv/new", "", 10) == []


async def test_what_is_removed_takes_along_what_is_below(provider: Provider) -> None:
    store = provider.properties
    for place in ("d", "d/a", "d/b/c", "d-e", "dd"):
        await put(store, f"file:/srv/{place}")
    await store.remove("file:/srv/d")
    left = await store.places("file:/srv", "", 100)
    assert sorted(left) == ["file:/srv/d-e", "file:/srv/dd"]


async def test_a_copy_has_the_same_and_no_others(provider: Provider) -> None:
    store = provider.properties
    await put(store, "file:/srv/a", one(b"a"))
    await put(store, "file:/srv/b", {("n", "other"): b"b"})
    await put(store, "file:/srv/b/below", one(b"stays"))
    await store.copy("file:/srv/a", "file:/srv/b", "file:/srv", "bob", LIMITS)
    assert await store.get("file:/srv/a") == await store.get("file:/srv/b") == one(b"a")
    assert await store.get("file:/srv/b/below") == one(b"stays")
    await store.copy("file:/srv/none", "file:/srv/b", "file:/srv", "bob", LIMITS)
    assert await store.get("file:/srv/b") == {}


async def test_bounds_of_one_file(provider: Provider) -> None:
    store = provider.properties
    await put(store, "file:/srv/a", one(b"kept"))
    for bad, text in (
        ({("n", "v"): b"x" * 1001}, "more than 1000 bytes"),
        ({("n", "v" * 101): b""}, "more than 100 characters"),
        ({("n" * 101, "v"): b""}, "more than 100 characters"),
        ({("n", str(number)): b"" for number in range(5)}, "more than 5 properties"),
        ({("n", str(number)): b"x" * 900 for number in range(3)}, "more than 2100 bytes"),
    ):
        with pytest.raises(QuotaExceeded, match=text):
            await put(store, "file:/srv/a", bad)
    assert await store.get("file:/srv/a") == one(b"kept")


async def test_bounds_of_one_account(provider: Provider) -> None:
    store = provider.properties
    big = {("n", str(number)): b"x" * 990 for number in range(2)}  # 1984 bytes
    for number in range(3):
        await put(store, f"file:/srv/{number}", big)
    for place in ("more", "0"):
        with pytest.raises(QuotaExceeded, match="of one account"):
            await put(store, f"file:/srv/{place}", {("m", "1"): b"x" * 60})
    await put(store, "file:/srv/0", {}, removes=[("n", "0")])  # less is always possible
    await put(store, "file:/srv/more", one(b"x" * 900))
    await put(store, "file:/srv/bob", big, account="bob")
    await store.copy("file:/srv/1", "file:/srv/copy", "file:/srv", "eva", LIMITS)  # does not fit: left out
    assert await store.get("file:/srv/copy") == {}
    await store.remove("file:/srv")
    for number in range(3):
        await put(store, f"file:/srv/{number}", big)
    await store.move("file:/srv/0", "file:/srv/moved", "file:/srv")
    with pytest.raises(QuotaExceeded):
        await put(store, "file:/srv/more", one(b"x" * 100))


async def test_who_set_them_last_is_charged(provider: Provider) -> None:
    store = provider.properties
    big = {("n", str(number)): b"x" * 990 for number in range(2)}
    for number in range(3):
        await put(store, f"file:/srv/{number}", big)
    await put(store, "file:/srv/0", {("n", "0"): b""}, account="bob")
    await put(store, "file:/srv/3", big)


async def test_patches_at_the_same_moment_lose_nothing(provider: Provider) -> None:
    store = provider.properties
    await asyncio.gather(
        *(put(store, "file:/srv/a", {("n", str(number)): b"%d" % number}) for number in range(5))
    )
    assert await store.get("file:/srv/a") == {("n", str(number)): b"%d" % number for number in range(5)}


async def test_places_in_pages(provider: Provider) -> None:
    store = provider.properties
    wanted = {f"file:/srv/{number}" for number in range(7)}
    for place in wanted:
        await put(store, place, one(b""))
    await put(store, "file:/other", one(b""))
    found: list[str] = []
    while page := await store.places("file:/srv", found[-1] if found else "", 3):
        assert len(page) <= 3
        found += page
    assert len(found) == 7
    assert set(found) == wanted


@pytest.mark.parametrize("kept", ["sqlite", "bolt", "postgresql", "mysql"])
async def test_properties_and_their_roots_outlive_the_process(
    kept: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(kept)
    first = await opened(options)
    assert await first.property_roots() == set()
    await put(first.properties, ODD)
    await first.properties.move(ODD, "file:/elsewhere/a", "file:/else%\udcff")
    await first.close()

    again = await opened(options)
    assert await again.property_roots() == {"file:/srv", "file:/else%\udcff"}
    assert await again.properties.get("file:/elsewhere/a") == ONE
