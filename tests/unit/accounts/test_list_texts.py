# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses as CSV, as lines, and in files of TCP wrappers."""

from __future__ import annotations

import pytest

from tidegate.accounts import list_texts
from tidegate.accounts.list_texts import read_csv, read_networks, read_wrappers, write_csv
from tidegate.errors import BadRecord, BadRecords, InvalidArgument
from tidegate.model.listed import ListKind, ListMode

CSV = (
    "list,network,protocols,until,description\r\n"
    'allow,10.0.0.0/8,,,"the ""office"""\r\n'
    'block,192.0.2.1/32,"SSH,FTP",2030-01-31T12:00:00Z,"a, b\nc"\r\n'
    "rate-safe,2001:db8::/32,,,\r\n"
    "safe,198.51.100.0/24,HTTP,,\r\n"
)

WRAPPERS = """\
# /etc/hosts.deny
ALL : 192.0.2. , 198.51.100.0/255.255.255.0
sshd, vsftpd : [2001:db8::]/32 203.0.113.7 \\
   203.0.113.8
in.telnetd: 10.0.0.1
sshd : .example.com, LOCAL, 10.9.9.9
ALL : ALL EXCEPT 10.0.0.0/8
ALL EXCEPT sshd : 10.0.0.2
sshd : 10.0.0.3 : ALLOW
sshd : 10.0.0.4 : DENY
proftpd : 10.0.0.5 : spawn /bin/logger %c
nonsense
"""


def test_what_is_written_is_read() -> None:
    found = read_csv(CSV)
    assert "".join(write_csv(found.entries)) == CSV
    block = found.entries[1]
    assert (block.type, block.mode, block.protocols) == (ListKind.DEFENDER, ListMode.DENY, 3)
    assert (block.description, block.expires_at) == ("a, b\nc", 1896091200000)


def test_every_wrong_line_is_told() -> None:
    lines = ["block,1.2.3.4,,,", "block,1.2.3.4/8,,,", "grey,1.2.3.4,,,", "safe,1.2.3.4", "safe,::1,SMTP,,"]
    with pytest.raises(BadRecords) as caught:
        read_csv("\n".join([",".join(list_texts.COLUMNS), *lines, "safe,::1,,soon,"]))
    assert [problem.partition(":")[0] for problem in caught.value.mistakes] == [
        f"line {number}" for number in (3, 4, 5, 6, 7)
    ]
    with pytest.raises(BadRecord, match="line 1: should be list,network"):
        read_csv("network\n1.2.3.4\n")
    with pytest.raises(BadRecords, match="line 2"):
        read_networks("1.2.3.4\nx\n", "block")
    with pytest.raises(InvalidArgument, match="'grey' is no list"):
        read_networks("", "grey")


def test_lines_have_comments() -> None:
    found = read_networks("# head\n1.2.3.0/24 ; SBL1\n\n::1 # home\n", "safe")
    assert [entry.name for entry in found.entries] == ["2/1.2.3.0/24", "2/::1/128"]


def test_files_of_tcp_wrappers_say_what_addresses_can() -> None:
    found = read_wrappers(WRAPPERS, "block")
    assert {entry.ipornet: entry.protocols for entry in found.entries} == {
        "192.0.2.0/24": 0,
        "198.51.100.0/24": 0,
        "2001:db8::/32": 3,
        "203.0.113.7/32": 3,
        "203.0.113.8/32": 3,
        "10.9.9.9/32": 1,
        "10.0.0.4/32": 1,
        "10.0.0.5/32": 2,
    }
    assert all(entry.mode == ListMode.DENY for entry in found.entries)
    assert found.left_out == (
        "line 5: 'in.telnetd' is no server of files",
        "line 6: '.example.com' is not an address or network",
        "line 6: 'LOCAL' is not an address or network",
        "line 7: EXCEPT among clients",
        "line 8: EXCEPT among daemons",
        "line 9: ALLOW is not for the list block",
        "line 11: 'spawn /bin/logger %c' is not done; the addresses are taken",
        "line 12: there is no client list",
    )
    everybody = read_wrappers("sshd: ALL", "safe")
    assert [entry.name for entry in everybody.entries] == ["2/0.0.0.0/0", "2/::/0"]
