# SPDX-License-Identifier: Apache-2.0
"""Certificates in files: urgency and words by the time that is left, and files that hold something else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from tests.support.certificates import certificate

from tidegate.health.certificates import DAY, MAX_FILE_BYTES, CertificateFile, Dated, read_all

NOW = 1_800_000_000.0


def dated(days: float | None, kind: Literal["server", "revocations"] = "server", **more: float) -> Dated:
    ends = None if days is None else NOW + days * DAY
    return Dated(file=CertificateFile(key="k", kind=kind, path=Path("p")), ends=ends, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "level", "told"),
    [
        (15, "ok", "ends in 15 days"),
        (13.9, "soon", "ends in 14 days"),
        (1, "soon", "ends in 24 h"),
        (0, "now", "has ended"),
        (-3, "now", "has ended"),
    ],
)
def test_the_urgency_follows_from_the_time_that_is_left(days: float, level: str, told: str) -> None:
    assert (dated(days).level(NOW, 14), dated(days).told(NOW)) == (level, told)


def test_lists_are_well_until_they_end_and_what_begins_later_is_not() -> None:
    assert dated(1, "revocations").level(NOW, 14) == "ok"
    assert dated(-1, "revocations").level(NOW, 14) == "now"
    assert (dated(None, "revocations").level(NOW, 14), dated(None).told(NOW)) == ("ok", "has no end")
    later = dated(9, begins=NOW + 1)
    assert (later.level(NOW, 1), later.told(NOW)) == ("now", "is not valid yet")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    certificate(tmp_path, "whole")
    whole = (tmp_path / "cert.pem").read_bytes()
    contents = {
        "chain": whole + whole,
        "key-and-certificate": (tmp_path / "key.pem").read_bytes() + whole,
        "none": b"nothing here",
        "broken": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "long": b"x" * (MAX_FILE_BYTES + 1),
    }
    found = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found[name] = read_all([CertificateFile(key=name, kind="server", path=tmp_path / name)])
    found["missing"] = read_all([CertificateFile(key="missing", kind="server", path=tmp_path / "missing")])
    crl = read_all([CertificateFile(key="chain", kind="revocations", path=tmp_path / "chain")])
    assert [one.place for one in found["chain"]] == [0, 1] and not any(one.problem for one in found["chain"])
    (one,) = found["key-and-certificate"]
    assert (one.subject, one.names) == ("CN=whole", ("DNS:localhost", "IP:127.0.0.1"))
    problems = {name: rows[0].problem for name, rows in found.items() if rows[0].problem}
    assert problems == {
        "none": "holds no certificate in PEM",
        "broken": "holds something that cannot be read",
        "long": f"is longer than {MAX_FILE_BYTES} bytes",
        "missing": "cannot be read: No such file or directory",
    }
    assert [one.problem for one in crl] == ["holds no revocation list in PEM"]
