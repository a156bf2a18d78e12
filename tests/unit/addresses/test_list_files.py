# SPDX-License-Identifier: Apache-2.0
"""Files of lists: what is read of them, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.geo_databases import age

from tidegate.addresses import list_files
from tidegate.addresses.list_files import ListFile, ListFiles, read_lines, read_strict
from tidegate.defence.lists import AddressLists
from tidegate.defence.pipeline import Defence, DefenceOptions
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name

TEXT = """\
# a list
192.0.2.0/24            ; SBL1
  198.51.100.7          # one host
2001:db8::/32
::ffff:203.0.113.0/120

no-address.example
203.0.113.9/24
1.2.3.4 5.6.7.8
"""


def block(path: Path, **more) -> ListFile:
    return ListFile(**{"path": str(path), "kind": ListKind.DEFENDER, "mode": ListMode.DENY, **more})


def write(path: Path, text: str) -> None:
    path.write_text(text)
    age(path)


def test_lines_are_networks_and_wrong_ones_are_named() -> None:
    found = read_lines(TEXT.splitlines())
    assert found.networks == (
        ("192.0.2.0/24", 2),
        ("198.51.100.7/32", 3),
        ("2001:db8::/32", 4),
        ("203.0.113.0/24", 5),
    )
    assert found.wrong == (
        (7, "'no-address.example' is no address and no network"),
        (8, "'203.0.113.9/24' has bits of a host; the network is 203.0.113.0/24"),
        (9, "'1.2.3.4 5.6.7.8' is no address and no network"),
    )


def test_wrong_lines_are_told_up_to_a_bound_and_then_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "list"
    for wrong, more in ((2, 0), (500, None)):
        path.write_text("192.0.2.1\n" + "x\n" * wrong)
        caplog.clear()
        found = list_files.read_file(str(path))
        assert found.networks == (("192.0.2.1/32", 1),)
        told = [one.message for one in caplog.records]
        assert told[0] == f"{path}:2: 'x' is no address and no network"
        assert len(found.wrong) <= len(told) <= len(found.wrong) + 1
        if more == 0:
            assert len(told) == wrong
        else:
            assert told[-1] == f"{path}: {wrong - len(found.wrong)} more lines are left out"


def test_lines_are_told_of_json_with_escapes_too(tmp_path: Path) -> None:
    """Other programs write ``\\/`` for every slash; each text of the document is passed once."""
    path = tmp_path / "list.json"
    networks = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(30_000)]
    text = json.dumps({"addresses": [], "networks": networks}, indent=0).replace("/", "\\/")
    path.write_text(text)
    found = read_strict(str(path))
    assert found.networks[0] == ("10.0.0.0/24", 4)
    assert found.networks[-1] == ("10.117.47.0/24", 30_003)
    path.write_text(text.replace("10.117.47.0", "10.117.47.1"))
    with pytest.raises(ValueError, match=r"line 30003: '10.117.47.1/24' has bits of a host"):
        read_strict(str(path))


def test_a_file_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(list_files, "MAX_ENTRIES", 3)
    monkeypatch.setattr(list_files, "MAX_TOLD", 2)
    path = tmp_path / "block"
    write(path, "".join(f"10.0.0.{n}\n" for n in range(8)))
    files = ListFiles([block(path)])
    assert files.look()
    assert len(files.entries()) == 3
    assert f"{path}:4: there are more than 3 entries" in caplog.text
    assert f"{path}: 3 more lines are left out" in caplog.text
    monkeypatch.setattr(list_files, "MAX_BYTES", 10)
    write(path, "10.0.0.1\n10.0.0.2\n")
    assert not files.look()
    assert files.problems() == {str(path): "is larger than 10 bytes"}
    assert len(files.entries()) == 3


def test_a_file_is_read_again_and_a_broken_one_leaves_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "block"
    write(path, "10.0.0.1\n")
    files = ListFiles([block(path)])
    assert files.look()
    assert not files.look()
    path.write_text("10.0.0.1\n10.0.")
    assert not files.look()  # its writer may not be done
    write(path, "10.0.0.2\n10.0.0.3\n")
    assert files.look()
    assert [entry.ipornet for entry in files.entries()] == ["10.0.0.2/32", "10.0.0.3/32"]
    path.write_bytes(b"\xff\xfe\x00")
    age(path)
    assert not files.look()
    assert list(files.problems()) == [str(path)]
    path.unlink()
    assert not files.look()
    assert len(files.entries()) == 2


def test_files_are_joined(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    write(one, "10.0.0.1\n10.0.0.2\n")
    write(two, "10.0.0.1\n10.0.0.2\n")
    write(three, "10.0.0.2\n")
    files = ListFiles([block(one, protocols=1), block(two, protocols=2), block(three, mode=ListMode.ALLOW)])
    assert files.look()
    found = {entry.ipornet: (entry.mode, entry.protocols) for entry in files.entries()}
    assert found == {"10.0.0.1/32": (ListMode.DENY, 3), "10.0.0.2/32": (ListMode.DENY, 3)}


def test_the_most_specific_entry_counts_and_of_two_the_stored_one(tmp_path: Path) -> None:
    path = tmp_path / "block"
    write(path, "10.0.0.0/24\n10.0.1.1\n10.0.2.0/24\n")
    files = ListFiles([block(path)])
    files.look()
    defence = Defence(DefenceOptions())
    defence.file_lists = AddressLists(files.entries())

    def safe(network: str) -> ListEntry:
        return ListEntry(name=entry_name(2, network), type=2, ipornet=network, mode=ListMode.ALLOW)

    defence.lists = AddressLists([safe("10.0.0.1/32"), safe("10.0.1.0/24"), safe("10.0.2.0/24")])
    assert defence.check("10.0.0.1", "SSH") is None  # stored, narrower
    assert defence.check("10.0.2.9", "SSH") is None  # the same network
    assert defence.check("10.0.1.2", "SSH") is None
    for address, network, line in (("10.0.0.2", "10.0.0.0/24", 1), ("10.0.1.1", "10.0.1.1/32", 2)):
        refusal = defence.check(address, "SSH")
        assert refusal is not None
        assert refusal.text == f"{address} is on the defender list as {network}, from {path}:{line}"


def test_json_of_sftpgo_is_read_with_lines(tmp_path: Path) -> None:
    path = tmp_path / "safe.json"
    text = '{\n  "addresses": [\n    "192.0.2.1",\n    "2001:db8::1"\n  ],\n  "networks": ["10.8.0.0/16",\n'
    write(path, text + '    "192.0.2.1/32"]\n}\n')
    assert read_strict(str(path)).networks == (
        ("192.0.2.1/32", 3),
        ("2001:db8::1/128", 4),
        ("10.8.0.0/16", 6),
        ("192.0.2.1/32", 7),
    )
    write(path, "192.0.2.0/24 # office\n\n2001:db8::/32\n")
    assert read_strict(str(path)).networks == (("192.0.2.0/24", 1), ("2001:db8::/32", 3))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"addresses": ["10.0.0.1"],\n "networks": ["10.0.0.1"]}', "line 2: '10.0.0.1' is no network such as"),
        ('{"addresses":\n ["10.0.0.0/8"]}', "line 2: '10.0.0.0/8' is no address"),
        ('{"networks":\n\n ["10.0.0.1/8"]}', "line 3: '10.0.0.1/8' has bits of a host; the network is 10.0.0.0/8"),
        ('{"networks":\n "10.0.0.0/8"}', "line 1: networks should be a list of texts"),
        ('{"networks": [\n"10.0.0.0/8", 5]}', "line 2: networks should be a list of texts, not 5"),
        ('{"hosts": []}', "line 1: 'hosts' is not one of addresses, networks"),
        ('{"addresses": [\n"10.0.0.1",\n?]}', "line 3: Expecting value"),
        ('{"addresses": ' + "[" * 100_000, "line 1: "),
        ("10.0.0.1\nnobody\n", "line 2: 'nobody' is no address and no network"),
    ],
)  # fmt: skip
def test_a_strict_file_is_refused_as_a_whole_and_names_the_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "block"
    write(path, "10.9.9.9\n")
    files = ListFiles([block(path, strict=True)])
    files.look()
    path.write_text(text)
    assert not files.look(at_once=True)
    assert files.problems()[str(path)].startswith(why)
    assert [entry.ipornet for entry in files.entries()] == ["10.9.9.9/32"]
