# SPDX-License-Identifier: Apache-2.0
"""Command lines of rsync and git clients: what they send is read, all else is refused by name."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.ssh.programs.git_command import environment, parse_git
from tidegate.doors.ssh.programs.rsync_command import DIRECTORIES, RsyncDirectory, parse_rsync
from tidegate.errors import Denied, InvalidArgument
from tidegate.model import Permission

# Each as a client sent it: rsync 3.5.0, 3.2.7, 3.1.3 (Debian 10), 2.6.9 (macOS), openrsync (macOS 15).
SENT = [
    "--server -logDtpre.iLsfxCIvu . /x",
    "--server -logDtpre.iLsfxCIvu --delete . /x/",
    "--server -ze.LsfxCIvu --partial . x",
    "--server -vlogDtprze.iLsfxCIvu --partial-dir .p . x",
    "--server --sender -logDtpre.iLsfxCIvu . /x",
    "--server --sender -logDtpre.iLsfxCIvu . /x /y",
    "--server -lHogDtpAXre.iLsfxCIvu --numeric-ids . x",
    "--server -logDtpre.iLsfxCIvu --delete-after --delete-excluded . x",
    "--server -logDtpre.iLsfxCIvu --link-dest ../prev . x",
    "--server -blogDtpre.iLsfxCIvu --backup-dir old --suffix=.b . x",
    "--server -logDtpre.iLsfxCIvu --append --append . x",
    "--server --sender -logDtpRe.LsfxCIvu --files-from=- --from0 . /x",
    "--server -logDtpre.iLsfxCIvu --timeout=30 --bwlimit=100 --max-size=10485760 . x",
    r"--server -logDtpre.iLsfxCIvu --log-format=X --partial . sp\ ace",
    "--server -logDtpre.iLsfxCIvu --log-format=%i --stats . x",
    "--server -ulmyWogDtprcxSe.iLsfxCIvu . x",
    "--server -logDtpre.iLsfxCIvu --iconv=latin1 . x",
    "--server -logDtpre.iLsfxCIvu --compress-level=3 --checksum-choice=md5 --compress-choice=zstd . x",
    "--server --sender -logDtpre.iLsfxCIvu --remove-source-files . x",
    "--server -lyogDtprSe.iLsfxCIvu --delay-updates --ignore-existing --existing --preallocate . x",
    "--server --sender -de.LsfxCIvu --list-only . x",
    "--server -logDtpre.iLsfxCIvu -B1000 --max-delete=3 --force --size-only --delete-missing-args . x",
    "--server -logDtpre.iLsfxCIvu --modify-window=2 --ignore-errors . x",
    "--server -lOJogDtUUpre.LsfxCIvu --use-qsort --fsync . x",
    "--server -logDtpre.iLsfxCIvu --no-specials --groupmap=a:b --open-noatime . x",
    "--server -logDtpr . x",
    "--server --sender -logDtpr . x/",
    "--server -vlHogDtpre.iLs --delete-during . x",
    "--server -e.LsfxCIvu . x",
]


@pytest.mark.parametrize("line", SENT)
def test_what_clients_send_is_read(line: str) -> None:
    words = shlex.split(line)

    command = parse_rsync(words)

    dot = words.index(".")
    assert command.paths == tuple(words[dot + 1 :])
    assert command.sends == ("--sender" in words)
    kept = [word for word in words[1:dot] if word != "--sender"]
    for one in command.directories:
        at = kept.index(one.option)
        del kept[at : at + 2]
    assert list(command.options) == kept


REFUSED = [
    ("--server -s", "-s"),
    ("--server -slogDtpre.iLsfxCIvu", "-s"),
    ("--server -logDtpre.iLsfxCIvu --log-file=/tmp/k . x", "--log-file"),
    ("--server -logDtpre.iLsfxCIvu --log-file /tmp/k . x", "--log-file"),
    ("--server --sender -logDtpRe.LsfxCIvu --files-from=/list . /x", "--files-from"),
    ("--server --sender -logDtpRe.LsfxCIvu --files-from /list . /x", "--files-from"),
    ("--server --daemon . x", "--daemon"),
    ("--server --config=/home/rsyncd.conf --daemon . x", "--config"),
    ("--server -e sh . x", "-e"),
    ("--server -esh . x", "-esh"),
    ("--server -e.LsfxCIvu;sh . x", "-e.LsfxCIvu;sh"),
    ("--server --rsh=sh . x", "--rsh"),
    ("--server --rsync-path=/bin/sh . x", "--rsync-path"),
    ("--server -M--log-file=/x . x", "-M--log-file=/x"),
    ("--server --remote-option=--log-file=/x . x", "--remote-option"),
    ("--server --early-input=/etc/passwd . x", "--early-input"),
    ("--server --password-file=/etc/passwd . x", "--password-file"),
    ("--server --exclude-from=/etc/passwd . x", "--exclude-from"),
    ("--server --write-batch=/tmp/x . x", "--write-batch"),
    ("--server --read-batch=/tmp/x . x", "--read-batch"),
    ("--server --only-write-batch=x . x", "--only-write-batch"),
    ("--server --filter='merge /etc/passwd' . x", "--filter"),
    ("--server -K . x", "-K"),
    ("--server -logDtprRe.LsfxCIvu --no-implied-dirs . x", "--no-implied-dirs"),
    ("--server --write-devices . x", "--write-devices"),
    ("--server --copy-devices . x", "--copy-devices"),
    ("--server --fake-super . x", "--fake-super"),
    ("--server --super . x", "--super"),
    ("--server --copy-as=root . x", "--copy-as"),
    ("--server --chmod=u+s . x", "--chmod"),
    ("--server --secluded-args . x", "--secluded-args"),
    ("--server --protect-args . x", "--protect-args"),
    ("--server --sender --server . x", "--server"),
    ("--server --no-safe-links . x", "--no-safe-links"),
    ("--server --no-munge-links . x", "--no-munge-links"),
    ("--server -T /tmp . x", "-T"),
    ("--server - . x", "-"),
    ("--server --outbuf=N . x", "--outbuf"),
]


@pytest.mark.parametrize(("line", "named"), REFUSED)
def test_an_option_that_is_not_known_is_refused_by_name(line: str, named: str) -> None:
    with pytest.raises(Denied, match="is not allowed") as caught:
        parse_rsync(shlex.split(line))
    assert repr(named) in caught.value.text


MALFORMED = [
    "",
    "-av x y",
    "--daemon",
    "--sender --server . x",
    "--server",
    "--server .",
    "--server -logDtpre.iLsfxCIvu x",
    "--server -logDtpre.iLsfxCIvu . x y",
    "--server --timeout=ten . x",
    "--server --suffix=a/b . x",
    "--server --iconv=../../x . x",
    "--server --partial-dir= . x",
    "--server --temp-dir",
    "--server -logDtpr --max-size=$(id) . x",
]


@pytest.mark.parametrize("line", MALFORMED)
def test_what_no_client_sends_is_refused(line: str) -> None:
    with pytest.raises((InvalidArgument, Denied)):
        parse_rsync(shlex.split(line))


def test_no_word_behind_the_paths_is_an_option() -> None:
    command = parse_rsync(["--server", "--sender", "-r", ".", "x", "--log-file=/x"])

    assert command.paths == ("x", "--log-file=/x")  # a path, which `_word` keeps from being read as an option


def test_directories_of_options_are_taken_out() -> None:
    words = shlex.split("--server -r --temp-dir=/t --link-dest ../a --link-dest=/b --backup-dir -x . d")

    command = parse_rsync(words)

    assert command.directories == (
        RsyncDirectory("--temp-dir", "/t", True),
        RsyncDirectory("--link-dest", "../a", False),
        RsyncDirectory("--link-dest", "/b", False),
        RsyncDirectory("--backup-dir", "-x", True),
    )
    assert command.options == ("-r",)


def test_more_directories_than_rsync_takes_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="more than 24"):
        parse_rsync(["--server", *["--link-dest=a"] * 25, ".", "d"])


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("--server -r . x", set()),
        ("--server -rt . x", {Permission.CHTIMES}),
        ("--server -rp . x", {Permission.CHMOD}),
        ("--server -rE . x", {Permission.CHMOD}),
        ("--server -rA . x", {Permission.CHMOD}),
        ("--server -rX . x", {Permission.CHMOD}),
        ("--server -rog . x", set()),  # left undone without `chown`
        ("--server -rog --usermap=a:b . x", {Permission.CHOWN}),
        ("--server --sender -rpt . x", set()),
    ],
)
def test_attributes_need_permissions_of_their_own(line: str, needs: set[Permission]) -> None:
    assert parse_rsync(shlex.split(line)).needs == needs


@pytest.mark.parametrize("path", ["/x.git", "x.git", "~/x.git", "/a b/it's.git", "."])
def test_git_names_one_path(path: str) -> None:
    assert parse_git("git-upload-pack", [path]) == path


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["/x", "/y"],
        ["--upload-pack=/bin/sh", "/x"],
        ["--stateless-rpc", "/x"],
        ["--exec=/bin/sh"],
        ["-c", "core.sshCommand=sh"],
    ],
)
def test_git_takes_no_option(words: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="git-upload-pack"):
        parse_git("git-upload-pack", words)


def test_git_has_an_environment_of_its_own() -> None:
    made = environment("a b\nc", "version=2")

    assert made["HOME"] == "/nonexistent"
    assert made["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert made["GIT_COMMITTER_NAME"] == "a_b_c"
    assert made["GIT_PROTOCOL"] == "version=2"
    count = int(made["GIT_CONFIG_COUNT"])
    keys = {made[f"GIT_CONFIG_KEY_{index}"]: made[f"GIT_CONFIG_VALUE_{index}"] for index in range(count)}
    assert keys["core.hooksPath"] == "/dev/null"
    assert keys["protocol.allow"] == "never"


@pytest.mark.parametrize("protocol", ["version=2\nX=1", "$(id)", "version=2 ", "x" * 65, "VERSION"])
def test_git_is_told_no_other_protocol(protocol: str) -> None:
    assert "GIT_PROTOCOL" not in environment("a", protocol)


WORDS = st.one_of(
    st.sampled_from([word for line in SENT for word in shlex.split(line)]),
    st.sampled_from([word for line, _ in REFUSED for word in shlex.split(line)]),
    st.text(alphabet="-=./eLsr,: ~\0\n", max_size=8),
    st.text(max_size=6),
)


@given(st.lists(WORDS, max_size=12))
def test_whatever_comes_is_read_or_refused(words: list[str]) -> None:
    try:
        command = parse_rsync(["--server", *words])
    except (Denied, InvalidArgument):
        return
    for option in command.options:
        name = option.partition("=")[0]
        assert name.startswith("-")
        assert name not in (
            "--log-file",
            "--daemon",
            "--config",
            "--rsh",
            "--server",
            "--sender",
            *DIRECTORIES,
        )
        assert option == "--files-from=-" or name != "--files-from"
        assert "\0" not in option
    assert command.paths
