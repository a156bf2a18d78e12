# SPDX-License-Identifier: Apache-2.0
"""Notes of moves: whole or not written, bounded, and told when they cannot be read."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from tidegate.accounts.storage_changes import Place
from tidegate.model import StorageConfig
from tidegate.relocation import notes as module
from tidegate.relocation.notes import MoveNote, Notes
from tidegate.relocation.progress import Phase


def made(name: str = "shared", *held: str) -> MoveNote:
    here = Place("/srv/old", StorageConfig())
    return MoveNote("folder", name, here, Place("/srv/new", here.config), Phase.HOLDING, held=list(held))


def test_a_note_of_many_accounts_is_read_as_it_was_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "moves")
    note = made("f\u00f6lder", *(f"account-{number:06}-\u00fc\U0001f30a" for number in range(60_000)))
    notes.write(note)
    assert (tmp_path / "moves").glob("*/move.json").__next__().stat().st_size > 1 << 20
    assert notes.read("folder", "f\u00f6lder") == note
    assert notes.all() == [note]


def test_a_note_that_is_too_long_is_refused_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NOTE_BYTES", 2000)
    notes = Notes(tmp_path / "moves")
    short = made("shared", "ann")
    notes.write(short)
    with pytest.raises(OSError, match="names 500 accounts") as caught:
        notes.write(made("shared", *(f"account-{number}" for number in range(500))))
    assert caught.value.errno == errno.EFBIG
    assert notes.read("folder", "shared") == short


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": 1}', b"\xff", b" " * 3000])
def test_a_note_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    monkeypatch.setattr(module, "MAX_NOTE_BYTES", 2000)
    notes = Notes(tmp_path / "moves")
    notes.write(made())
    (path,) = (tmp_path / "moves").glob("*/move.json")
    path.write_bytes(text)
    with caplog.at_level(logging.ERROR):
        assert notes.all() == []
    assert str(path) in caplog.text
    caplog.clear()
    assert notes.read("user", "nobody") is None
    assert not caplog.text
