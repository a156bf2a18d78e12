# SPDX-License-Identifier: Apache-2.0
"""Countries, blocklists and list files of the running product, on every door.

Clients of the loopback network have addresses that the databases of the test know.
"""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.blocklists import blocklists
from tests.support.geo_databases import age, country, system, write_database
from tests.support.ports import free_port
from tests.support.running import Running, wait_for

from tidegate.model import Filters
from tidegate.model.geography import GeoRules

DATABASE = {
    "127.0.0.5/32": country("JP", "AS"),
    "127.0.0.6/32": country("DE", "EU"),
    "127.0.0.7/32": country("FJ", "OC"),
}


class Doors(Running):
    """A server with every door."""

    def __init__(self, directory: Path, **common: Any) -> None:
        self.ports = {"ftpd": free_port(), "httpd": free_port(), "webdavd": free_port()}
        clear = {"address": "127.0.0.1", "plain_login": True}
        rest = {
            "address": "127.0.0.1",
            "port": self.ports["httpd"],
            "proxy_allowed": ["127.0.0.1"],
            "client_ip_proxy_header": "X-Forwarded-For",
        }
        super().__init__(
            directory,
            settings={
                "common": common,
                "ftpd": {"bindings": [{"port": self.ports["ftpd"], **clear}]},
                "httpd": {"bindings": [rest]},
                "webdavd": {"bindings": [{"port": self.ports["webdavd"], **clear}]},
            },
        )

    def greets(self, port: int, source: str) -> bytes:
        """The first bytes that a door sends; empty if it closes."""
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
            try:
                return line.recv(200)
            except ConnectionResetError:
                return b""

    def status(self, door: str, source: str = "127.0.0.1", client: str = "") -> int:
        """The status of an answer by HTTP; `client` is what a proxy says."""
        line = http.client.HTTPConnection(
            "127.0.0.1", self.ports[door], timeout=10, source_address=(source, 0)
        )
        try:
            line.request("GET", "/healthz", headers={"X-Forwarded-For": client} if client else {})
            return line.getresponse().status
        finally:
            line.close()

    def open_to(self, source: str) -> set[str]:
        """The doors that let an address in."""
        found = {"SSH"} if self.greets(self.port, source).startswith(b"SSH-") else set()
        found |= {"FTP"} if self.greets(self.ports["ftpd"], source).startswith(b"220") else set()
        found |= {"HTTP"} if self.status("httpd", source) == 200 else set()
        return found | ({"DAV"} if self.status("webdavd", source) != 403 else set())


def command(server: Running, *args: str, code: int = 0) -> str:
    """The output of a command."""
    done = fork_server.run([*args, "-c", str(server.directory)])
    assert done.returncode == code, done.stderr
    return done.stdout


ALL = {"SSH", "FTP", "HTTP", "DAV"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    place = tmp_path_factory.mktemp("server")
    write_database(place / "country.mmdb", DATABASE)
    write_database(place / "asn.mmdb", {"127.0.0.6/32": system(64500, "Some network")})
    (place / "blocked").write_text("# written by another program\n127.0.0.8\n")
    with blocklists() as port:
        one = Doors(
            place / "tidegate",
            geoip={"databases": ["../country.mmdb", "../asn.mmdb"], "denied_countries": ["JP"]},
            dnsbl={"zones": [{"zone": "bl.test"}], "nameservers": [f"127.0.0.1:{port}"], "timeout": 4000},
            list_files=[{"path": "../blocked", "protocols": ["SSH", "HTTP"]}],
        )
        one.start()
        yield one
        one.stop()


def test_a_denied_country_meets_closed_doors_until_the_database_says_otherwise(server: Doors) -> None:
    assert server.open_to("127.0.0.5") == set()
    assert server.open_to("127.0.0.6") == ALL
    assert server.open_to("127.0.0.1") == ALL
    assert server.greets(server.ports["ftpd"], "127.0.0.5") == b"500 Access denied\r\n"
    line = server.wait_line("refused", ip="127.0.0.5", rule="common.geoip.denied_countries")
    assert (line["country"], line["text"]) == ("JP", "127.0.0.5 is in JP, AS")
    database = server.directory.parent / "country.mmdb"
    write_database(database, DATABASE | {"127.0.0.5/32": country("DE", "EU")})
    age(database)
    wait_for(lambda: server.open_to("127.0.0.5") == ALL, "the other database")


def test_a_file_of_a_list_is_heeded_and_read_again(server: Doors) -> None:
    assert server.open_to("127.0.0.8") == {"FTP", "DAV"}
    file = server.directory.parent / "blocked"
    file.write_text("127.0.0.9\nnonsense\n")
    age(file)
    wait_for(lambda: server.open_to("127.0.0.9") == {"FTP", "DAV"}, "the file")
    assert server.open_to("127.0.0.8") == ALL
    told = "/blocked:2: 'nonsense' is no address"
    wait_for(lambda: told in server.log_file.read_text(), told)


def test_files_of_sftpgo_are_read_at_start_by_sighup_and_named(tmp_path: Path) -> None:
    safe, block, allow = (tmp_path / name for name in ("safe.json", "block.json", "allow"))
    safe.write_text('{"addresses": ["127.0.0.7"], "networks": []}')
    block.write_text('{"addresses": [],\n "networks": ["127.0.0.4/30"]}')
    allow.write_text("127.0.0.0/28\n")
    one = Doors(
        tmp_path / "tidegate",
        whitelist_file="../allow",
        defender={"safelist_file": str(safe), "blocklist_file": str(block)},
    )
    one.start()
    try:
        assert one.open_to("127.0.0.7") == one.open_to("127.0.0.1") == ALL
        assert one.open_to("127.0.0.5") == one.open_to("127.0.0.20") == set()
        line = one.wait_line("refused", ip="127.0.0.5", rule="defender list")
        assert line["text"] == f"127.0.0.5 is on the defender list as 127.0.0.4/30, from {block}:2"
        assert one.wait_line("refused", ip="127.0.0.20", rule="common.whitelist_file")
        block.write_text('{"networks": [\n"127.0.0.9/32",\n"nobody/32"]}')
        one.send(signal.SIGHUP)
        told = f"common.defender.blocklist_file: {block}: line 3: 'nobody/32' is no address"
        wait_for(lambda: told in one.log_file.read_text(), told)
        assert one.open_to("127.0.0.5") == set()
        assert one.open_to("127.0.0.9") == ALL
        block.write_text('{"networks": [\n"127.0.0.9/32"]}')
        one.send(signal.SIGHUP)
        wait_for(lambda: one.open_to("127.0.0.9") == set(), "the file")
        assert one.open_to("127.0.0.5") == ALL
    finally:
        one.expected_errors.append("blocklist_file")
        one.stop()


def test_an_address_on_a_blocklist_is_refused(server: Doors) -> None:
    assert server.status("httpd", client="203.0.113.5") == 403
    assert server.status("httpd", client="2001:db8:bad::1") == 403
    assert server.status("httpd", client="203.0.113.99") == 200


async def test_logins_have_country_and_system_in_the_log(server: Doors) -> None:
    person = await asyncio.to_thread(server.account)
    async with person.connect(local_addr=("127.0.0.6", 0)):
        pass
    line = await asyncio.to_thread(server.wait_line, "login", username=person.name)
    assert (line["country"], line["asn"]) == ("DE", 64500)
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(password="no", client_keys=None)
    line = await asyncio.to_thread(server.wait_line, "connection_failed", client_ip="127.0.0.1")
    assert (line["country"], line["asn"]) == ("", 0)


async def test_an_account_has_countries_of_its_own(server: Doors) -> None:
    filters = Filters(geoip=GeoRules(denied_countries=("DE",)))
    person = await asyncio.to_thread(server.account, filters=filters)
    async with person.connect():
        pass
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(local_addr=("127.0.0.6", 0))
    line = await asyncio.to_thread(server.wait_line, "connection_failed", username=person.name)
    assert (line["rule"], line["error"], line["country"]) == ("geoip[DE]", "geoip", "DE")
    await asyncio.to_thread(
        command, server, "user", "set", person.name, "--allowed-asn", "64500", "--denied-country", "cn"
    )
    stored = await asyncio.to_thread(server.stored, person.name)
    assert stored.filters.geoip == GeoRules(denied_countries=("CN",), allowed_asns=(64500,))
    async with person.connect(local_addr=("127.0.0.6", 0)):
        pass


def test_a_reload_takes_other_rules_and_one_that_cannot_be_used_changes_nothing(server: Doors) -> None:
    sections = server.sections
    geoip = sections["common"]["geoip"]

    def reload(message: str, **keys: Any) -> None:
        common = {**sections["common"], "geoip": {**geoip, **keys}}
        server.configure({**sections, "common": common})
        server.send(signal.SIGHUP)
        wait_for(lambda: message in server.log_file.read_text(), message)

    server.expected_errors.append("not reloaded: common.geoip.databases")
    try:
        reload("missing.mmdb", databases=["missing.mmdb"])
        assert server.open_to("127.0.0.7") == ALL
        reload("configuration reloaded", denied_continents=["OC"])
        wait_for(lambda: server.open_to("127.0.0.7") == set(), "the other rules")
    finally:
        server.configure(sections)
        server.send(signal.SIGHUP)
    wait_for(lambda: server.open_to("127.0.0.7") == ALL, "the rules as before")
