# SPDX-License-Identifier: Apache-2.0
"""Lines of a shell channel taken apart, and modes as chmod reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.common.command_line import split
from tidegate.doors.ssh.shell.changes import mode_after
from tidegate.doors.ssh.shell.commands import absolute
from tidegate.doors.ssh.shell.lines import expand, steps
from tidegate.errors import InvalidArgument


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", []),
        (" ; ;", []),
        ("pwd", ["pwd"]),
        ('cd "a;b" ; echo "x:$?"', ['cd "a;b"', 'echo "x:$?"']),
        ("a 'b\\';c", ["a 'b\\'", "c"]),
        ('a "b\\";c" ; d', ['a "b\\";c"', "d"]),
        ("a \\; b", ["a \\; b"]),
        (";".join("abcdefghijklmnop"), list("abcdefghijklmnop")),
    ],
)
def test_steps(line: str, found: list[str]) -> None:
    assert steps(line) == found


@pytest.mark.parametrize("line", ['"', "a 'b", 'a ; "b', ";".join("a" * 17), "x" * 70_000])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(InvalidArgument):
        steps(line)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('echo "x:$?"', ["echo", "x:5"]),
        ("echo ${?}$?", ["echo", "55"]),
        ('echo "$status"', ["echo", ""]),
        ("echo ${LANG}y z${x}", ["echo", "y", "z"]),
        ("echo $? ${?}x", ["echo", "5", "5x"]),
        ("echo '$(x)' a$ b", ["echo", "$(x)", "a$", "b"]),
        ("echo $status x", ["echo", "x"]),
        ('rm "\\$?"', ["rm", "$?"]),
        ("rm '$? `x` ${y:z} | &'", ["rm", "$? `x` ${y:z} | &"]),
        ('rm "| & < > ( )"', ["rm", "| & < > ( )"]),
        ('rm "\\`x\\`"', ["rm", "`x`"]),
        ('rm "$" "a$" $', ["rm", "$", "a$", "$"]),
        ('rm "$1$@$$x"', ["rm", "x"]),
        ("rm \\| \\$x", ["rm", "|", "$x"]),
    ],
)
def test_expanding(step: str, words: list[str]) -> None:
    assert split(expand(step, 5)) == words


@pytest.mark.parametrize(
    "step",
    [
        "a | b",
        "a & b",
        "a < b",
        "a > b",
        "a `b`",
        '"`b`"',
        '"$(b)"',
        "a (b)",
        "${a:-b}",
        "${a",
        "$(a)",
        "x$(a)",
    ],
)
def test_what_only_a_shell_does_is_refused(step: str) -> None:
    with pytest.raises(InvalidArgument):
        expand(step, 0)


@given(st.text(st.characters(exclude_characters="\0\n"), max_size=40), st.integers(0, 255))
def test_a_name_as_winscp_quotes_it_is_one_word(name: str, status: int) -> None:
    quoted = "".join(f"\\{char}" if char in '\\`$"' else char for char in name)
    (step,) = steps(f'rm "{quoted}"')
    assert split(expand(step, status)) == ["rm", name]


@given(st.text(max_size=60), st.integers(0, 255))
def test_any_line_is_taken_apart_or_refused(line: str, status: int) -> None:
    try:
        for step in steps(line):
            split(expand(step, status))
    except InvalidArgument:
        pass


@pytest.mark.parametrize(
    ("before", "text", "is_dir", "after"),
    [
        (0o644, "0600", False, 0o600),
        (0o644, "7", False, 0o007),
        (0o644, "u+x,go-r", False, 0o700),
        (0o644, "+x", False, 0o755),
        (0o644, "a=r", False, 0o444),
        (0o640, "o=rX", False, 0o644),
        (0o640, "o=rX", True, 0o645),
        (0o740, "g+X", False, 0o750),
        (0o755, "u+s,+t", False, 0o5755),
        (0o2755, "g-s", False, 0o755),
        (0o755, "ug=,o=", False, 0),
    ],
)
def test_modes(before: int, text: str, is_dir: bool, after: int) -> None:
    assert mode_after(before, text, is_dir=is_dir) == after


@pytest.mark.parametrize("text", ["", "8", "77777", "u", "+q", "u+r,", "x=r", "0o7"])
def test_modes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid mode"):
        mode_after(0, text, is_dir=False)


@pytest.mark.parametrize(
    ("text", "word", "pattern"),
    [
        ("~", "/h[1", ""),
        ("~/a b", "/h[1/a", ""),
        ("~me/x", "/h[1/x", ""),
        ("~other/x", "~other/x", ""),
        ("'~/x'", "~/x", ""),
        ("~/*.txt", "/h[1/*.txt", "/h\\[1/*.txt"),
        ("x", "x", ""),
    ],
)
def test_a_tilde_is_where_the_session_began(text: str, word: str, pattern: str) -> None:
    found = absolute(split(text)[0], "/h[1", "me")
    assert (found, found.pattern) == (word, pattern)
    assert not found.home or text == "~other/x"
