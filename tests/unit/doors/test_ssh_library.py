# SPDX-License-Identifier: Apache-2.0
"""SSH on a cryptography library that refuses what it lists, as OpenSSL does in FIPS mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from tidegate.doors.ssh import lane_keys, library
from tidegate.doors.ssh.algorithms import Algorithms, resolve
from tidegate.doors.ssh.hostkeys import default_host_keys, load_host_keys, made_host_keys
from tidegate.errors import ConfigError


def refuse(*_: object, **__: object) -> None:
    raise UnsupportedAlgorithm("not by this module")


@pytest.fixture
def restricted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither of the curves of 25519, and no ChaCha20: OpenSSL 3.0 with its FIPS provider."""
    library._does.cache_clear()
    monkeypatch.setattr(x25519.X25519PrivateKey, "generate", refuse)
    monkeypatch.setattr(ed25519.Ed25519PrivateKey, "generate", refuse)
    monkeypatch.setattr(library, "ChaCha20", refuse)
    yield
    library._does.cache_clear()


def test_everything_works_on_a_library_without_restrictions() -> None:
    assert [part for part in library._TRIALS if not library.does(part)] == []


def test_defaults_hold_nothing_that_is_built_on_what_is_refused(restricted: None) -> None:
    chosen = resolve(Algorithms())
    assert not [name for name in chosen.kex_algorithms if "25519" in name]
    assert {"mlkem768nistp256-sha256", "ecdh-sha2-nistp256"} <= set(chosen.kex_algorithms)
    assert chosen.ciphers[:3] == ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")
    assert chosen.host_key_algorithms[0] == "ecdsa-sha2-nistp256"
    assert not [name for name in chosen.public_key_algorithms if "25519" in name]


def test_a_name_that_is_refused_is_told_from_one_that_nobody_knows(restricted: None) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(Algorithms(kex_algorithms=("curve25519-sha256", "ecdh-sha2-nistp265")))
    first, second = (str(problem) for problem in error.value.problems)
    assert first.startswith("sftpd.kex_algorithms[0]: curve25519-sha256 does not work here")
    assert second.startswith("sftpd.kex_algorithms[1]: unknown algorithm 'ecdh-sha2-nistp265'")


def test_a_host_key_on_a_nist_curve_is_made_in_place_of_ed25519(restricted: None, tmp_path: Path) -> None:
    assert made_host_keys() == ("id_ecdsa", "id_rsa")
    (tmp_path / "id_ed25519").touch(0o600)  # from before the restriction: left alone
    assert default_host_keys(tmp_path) == ("id_ecdsa", "id_rsa")
    (first, _) = load_host_keys(tmp_path)
    assert first.get_algorithm() == "ecdsa-sha2-nistp256"


@pytest.mark.parametrize("error", [UnsupportedAlgorithm("x"), InternalError("x", [])])
def test_a_named_host_key_that_the_library_cannot_load_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "mine").touch(0o600)
    (tmp_path / "mine").write_bytes(key.export_private_key("openssh"))

    def fail(_: bytes) -> None:
        raise error

    monkeypatch.setattr(ed25519.Ed25519PrivateKey, "from_private_bytes", fail)
    with pytest.raises(ConfigError, match=r"mine .* as OpenSSL does in FIPS mode"):
        load_host_keys(tmp_path, ["mine"])


def test_the_fast_lane_does_without_the_cipher_that_is_refused(restricted: None) -> None:
    assert lane_keys.self_check() == ""
