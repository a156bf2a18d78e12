# SPDX-License-Identifier: Apache-2.0
"""TLS client certificates made by openssl: curl and lftp log in by them, and what is not right stays out."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.authority import Authority, authority
from tests.support.command_line import tidegate
from tests.support.ftp_world import FtpServer, RawFtp, ftp_server
from tests.support.needs import absent, missing
from tests.support.running import Person

from tidegate.model import Filters

CN = Filters(tls_username="CommonName")
BOTH = Filters(tls_username="CommonName", denied_login_methods=("TLSCertificate",))


@dataclass
class World:
    server: FtpServer
    own: Authority
    other: Authority

    def account(self, filters: Filters, **fields: Any) -> tuple[Person, tuple[Path, Path]]:
        """An account, and a certificate in its name."""
        person = self.server.account(filters=filters, **fields)
        return person, self.own.client(person.name)

    def login(
        self, pair: tuple[Path, Path] | None, name: str, password: str = "", *, port: int = 0
    ) -> list[int]:
        """Codes of USER, and of PASS if a password is given."""
        with RawFtp(port or self.server.plain) as ftp:
            context = ssl.create_default_context(cafile=str(self.server.certificate))
            if pair is not None:
                context.load_cert_chain(*pair)
            assert ftp.code("AUTH TLS") == 234
            ftp.sock = context.wrap_socket(ftp.sock, server_hostname="localhost")
            codes = [ftp.code(f"USER {name}")]
            if password:
                codes.append(ftp.code(f"PASS {password}"))
            return codes

    def reasons(self, person: Person) -> list[tuple[str, str]]:
        """Method and reason of the failed logins of an account, in order."""
        self.server.running.wait_line("connection_failed", username=person.name)
        return [
            (line["login_type"], line["error"])
            for line in self.server.running.lines("connection_failed", username=person.name)
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if missing("openssl"):
        absent("openssl")
    base = tmp_path_factory.mktemp("certificates")
    own, other = authority(base / "own", "Partners"), authority(base / "other", "Somebody")
    own.renew_list()
    with ftp_server(
        base / "server",
        binding={"client_auth_type": 2},
        ca_certificates=[str(own.pem)],
        ca_revocation_lists=[str(own.crl)],
    ) as server:
        yield World(server, own, other)


def test_a_certificate_tries_few_names(world: World) -> None:
    """Each may start a program of the operator's; nobody has it do so for ever."""
    person, pair = world.account(CN)
    with RawFtp(world.server.plain) as ftp:
        context = ssl.create_default_context(cafile=str(world.server.certificate))
        context.load_cert_chain(*pair)
        assert ftp.code("AUTH TLS") == 234
        ftp.sock = context.wrap_socket(ftp.sock, server_hostname="localhost")
        begun = time.monotonic()
        assert [ftp.code(f"USER other{number}") for number in range(3)] == [331, 331, 331]
        assert time.monotonic() - begun >= 2
        assert ftp.code(f"USER {person.name}") == 530
        with pytest.raises((EOFError, OSError, AssertionError)):
            ftp.code(f"USER {person.name}")


def run(*words: str | Path, text: str = "", home: Path | None = None) -> subprocess.CompletedProcess[str]:
    if missing(str(words[0])):
        absent(str(words[0]))
    environment = {**os.environ, **({"HOME": str(home)} if home else {})}
    return subprocess.run(
        [str(word) for word in words],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


@pytest.mark.parametrize("way", ["auth", "implicit", "required", "tls12"])
def test_curl_logs_in_by_its_certificate(world: World, tmp_path: Path, way: str) -> None:
    person, (pem, key) = world.account(CN)
    server = world.server
    port = {"implicit": server.implicit, "required": server.required}.get(way, server.plain)
    url = f"{'ftps' if way == 'implicit' else 'ftp'}://localhost:{port}/in/f"
    (tmp_path / "f").write_bytes(content := os.urandom(300_000))
    words: list[str | Path] = ["curl", "-sS", "-4", "--ssl-reqd", "--cacert", server.certificate]
    words += ["--cert", pem, "--key", key, "-u", f"{person.name}:not the password"]
    words += ["--tls-max", "1.2"] if way == "tls12" else []
    done = run(*words, "--ftp-create-dirs", "-T", tmp_path / "f", url)
    assert done.returncode == 0, done.stderr
    assert run(*words, url, "-o", tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content == (person.home / "in" / "f").read_bytes()


def test_lftp_logs_in_by_its_certificate(world: World, tmp_path: Path) -> None:
    person, (pem, key) = world.account(CN)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_bytes(content := os.urandom(100_000))
    script = f"""
        set ssl:ca-file {world.server.certificate}
        set ssl:cert-file {pem}
        set ssl:key-file {key}
        set ftp:ssl-force yes
        set ftp:ssl-protect-data yes
        set cmd:fail-exit yes
        open -u {person.name},nothing ftp://localhost:{world.server.plain}
        mirror -R {tmp_path}/tree up
        mirror up {tmp_path}/down
        bye
    """
    done = run("lftp", "-f", "/dev/stdin", text=script, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "down" / "f").read_bytes() == content == (person.home / "up" / "f").read_bytes()


def test_codes_of_the_ways_in(world: World) -> None:
    person, pair = world.account(CN)
    assert world.login(pair, person.name) == [232]
    assert world.login(pair, person.name, "superfluous") == [232, 202]
    assert world.login(None, person.name, person.password) == [331, 230]  # none was offered
    both, pair = world.account(BOTH)
    assert world.login(pair, both.name, both.password) == [331, 230]
    assert world.login(pair, both.name, "wrong") == [331, 530]
    plain, pair = world.account(Filters())
    assert world.login(pair, plain.name, plain.password) == [331, 230]  # it uses no certificates
    world.server.running.wait_line("login", username=plain.name)
    methods = [
        line["method"]
        for line in world.server.running.lines("login")
        if line["username"] in (person.name, both.name, plain.name)
    ]
    assert methods == ["TLSCertificate", "TLSCertificate", "password", "TLSCertificate+password", "password"]


def test_both_are_needed_where_both_are_asked_for(world: World) -> None:
    denied = ("TLSCertificate", "password")
    person, pair = world.account(Filters(tls_username="CommonName", denied_login_methods=denied))
    assert world.login(pair, person.name, person.password) == [331, 230]
    assert world.login(None, person.name, person.password) == [331, 530]


def test_the_certificate_of_somebody_else_is_no_login(world: World) -> None:
    """Nor is the right password with it; and the answers are those to a user that there is not."""
    person, _ = world.account(CN)
    _, stranger = world.account(CN)
    assert world.login(stranger, person.name, person.password) == [331, 530]
    assert world.login(stranger, "nobody-of-that-name", "x") == [331, 530]
    assert world.reasons(person) == [("TLSCertificate", "bad_credential")]


ODD = ("/CN={0}/CN=other", "/CN=other/CN={0}", "/CN=X{0}", "/CN={0} ")


def test_odd_names_are_not_the_user(world: World) -> None:
    """Each refusal takes a second: all at once."""

    def refused(subject: str) -> list[int]:
        return world.login(pairs[subject], person.name, person.password)

    person = world.server.account(filters=CN)
    pairs = {
        subject: world.own.client(f"odd-{number}", subject=subject.format(person.name))
        for number, subject in enumerate(ODD)
    }
    with ThreadPoolExecutor(len(ODD)) as threads:
        assert list(threads.map(refused, ODD)) == [[331, 530]] * len(ODD)


def test_rules_of_the_account_hold(world: World) -> None:
    person, pair = world.account(CN, status=0)
    assert world.login(pair, person.name, person.password) == [331, 530]
    assert world.reasons(person) == [("TLSCertificate", "disabled")]


def test_a_certificate_of_another_authority_ends_the_handshake(world: World) -> None:
    person, _ = world.account(CN)
    pair = world.other.client(person.name)
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        world.login(pair, person.name, person.password)


def test_a_revoked_certificate_is_refused_from_the_next_connection_on(world: World) -> None:
    person, pair = world.account(CN)
    assert world.login(pair, person.name) == [232]
    world.own.revoke(pair[0])
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        world.login(pair, person.name)
    said = "TLS: certificate of the client: certificate revoked"
    world.server.running.wait_line("disconnected", error=said)


def test_explain_judges_as_the_door(world: World) -> None:
    person, (pem, _) = world.account(CN)

    def explain(path: Path, *more: str) -> tuple[int, str]:
        done = tidegate(
            "explain", "-c", world.server.running.directory,
            "--user", person.name, "--op", "list", "--protocol", "FTPS", "--certificate", path, *more,
        )  # fmt: skip
        return done.code, done.out + done.err

    assert explain(pem)[0] == 0
    _, (stranger, _) = world.account(CN)
    code, text = explain(stranger)
    assert (code, "tls_certificate[name]" in text) == (3, True)
    code, text = explain(world.other.client(person.name)[0])
    assert (code, "tls_certificate[authority]" in text) == (3, True)
    world.own.revoke(pem)
    code, text = explain(pem)
    assert (code, "tls_certificate[revoked]" in text) == (3, True)
    code, text = explain(world.own.crl)
    assert code != 0
    assert "no certificate" in text


def test_an_account_that_wants_tls_gets_nothing_in_the_clear(world: World) -> None:
    person = world.server.account(filters=Filters(ftp_security=1))
    with RawFtp(world.server.plain) as ftp:
        assert [ftp.code(f"USER {person.name}"), ftp.code(f"PASS {person.password}")] == [331, 530]
    assert world.reasons(person) == [("password", "encryption")]
    with RawFtp(world.server.plain) as ftp:
        ftp.secure(world.server.certificate)
        ftp.login(person)
        ftp.passive().close()
        assert ftp.code("NLST") == 522
        assert ftp.code("PROT C") == 534
        assert ftp.code("CCC") == 534
        assert ftp.code("PBSZ 0") == 200
        assert ftp.code("PROT P") == 200


# -- one more server: a certificate is required -----------------------------------------------------------


def test_where_a_certificate_is_required_nobody_comes_without(tmp_path: Path) -> None:
    if missing("openssl"):
        absent("openssl")
    own = authority(tmp_path / "own", "Partners")
    with ftp_server(
        tmp_path / "server", binding={"client_auth_type": 1}, ca_certificates=[str(own.pem)]
    ) as server:
        person = server.account()
        world = World(server, own, own)
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            world.login(None, person.name, person.password)
        assert world.login(own.client("guest"), person.name, person.password) == [331, 230]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ca_certificates": []}, "client_auth_type 1 needs ca_certificates"),
        ({"ca_certificates": ["absent.pem"]}, "ftpd.ca_certificates[0]"),
        ({"ca_certificates": ["crl.pem"]}, "expected nothing but CERTIFICATE"),
        ({"ca_certificates": ["ca.pem"], "ca_revocation_lists": ["ca.pem"]}, "expected nothing but X509 CRL"),
        ({"ca_certificates": ["broken.pem"]}, "broken.pem"),
    ],
    ids=["none", "absent", "a list", "no list", "broken"],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, settings: dict[str, list[str]], said: str) -> None:
    if missing("openssl"):
        absent("openssl")
    own = authority(tmp_path / "own", "Partners")
    own.renew_list()
    server_pem, server_key = own.client("localhost")
    directory = own.directory
    (directory / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    binding = {"port": 1, "address": "127.0.0.1", "client_auth_type": 1}
    binding |= {"certificate_file": str(server_pem), "certificate_key_file": str(server_key)}
    (directory / "tidegate.json").write_text(
        json.dumps({"ftpd": {"bindings": [binding], **settings}, "data_provider": {"driver": "memory"}})
    )
    done = tidegate("check", "-c", directory)
    assert done.code != 0
    assert said in done.out + done.err
