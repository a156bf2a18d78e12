# SPDX-License-Identifier: Apache-2.0
"""README, tutorial and guides, run from top to bottom: each command does what the page says.

What a page needs and does not say, and what cannot be run here, stands in comments of the page; see
`tests.support.guide_text`.
"""

from pathlib import Path

import pytest
from tests.support.guide_shell import GuideShell
from tests.support.guide_text import Step, differences, read_guide

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    *sorted((ROOT / "docs" / "how_to").glob("*.md")),
]
GUIDES = {str(page.relative_to(ROOT)): read_guide(page) for page in PAGES}

LEFT_OUT = {
    "README.md": ["installs the test tools from a package index; the next block starts the server"],
    "docs/tutorials/first-server.md": ["fetches the repository from its host"],
    "docs/how_to/import-accounts.md": [
        "needs the gateway's database; tests/contract/test_openbridge_import.py has one"
    ],
    "docs/how_to/move-from-openbridge.md": [
        "needs the gateway's database; tests/contract/test_openbridge_import.py has one",
        "needs the gateway's database; tests/contract/test_openbridge_import.py has one",
        "needs the gateway's database; tests/clients/test_openbridge_nodes.py has one",
        "needs a bucket; tests/clients/test_openbridge_environment.py has one",
    ],
    "docs/how_to/move-from-sftpgo.md": ["needs the old server; tests/clients/test_import_compare.py has one"],
    "docs/how_to/second-factor.md": [
        "needs an authenticator program; tests/clients/test_second_factor.py has one"
    ],
    "docs/how_to/resume-and-atomic-uploads.md": [
        "needs a line that breaks; tests/clients/test_serve_uploads.py cuts one"
    ],
    "docs/how_to/choose-a-provider.md": [
        "needs a database server; tests/contract/test_statements_by_hand.py runs the same",
    ],
    "docs/how_to/webdav-clients.md": [
        "needs a newer rclone than systems have; tests/clients/test_dav_parts.py has one"
    ],
    "docs/how_to/container.md": [
        "needs an engine for containers; tests/package/test_package_image.py runs the steps of the image"
    ],
    "docs/how_to/debian-package.md": [
        "needs the package of a release and a system; tests/package/test_package_debian.py has both",
        "needs the files of a release; tests/package/test_package_rpm.py and test_package_arch.py build of them",
    ],
    "docs/how_to/make-a-release.md": [
        "builds from the clone with packages from an index; tests/package runs it",
        "needs the wheels of a release; tests/package/test_package_release.py installs from them",
    ],
    "docs/how_to/one-file.md": [
        "needs the file of a release; tests/package/test_package_one_file.py shares a directory with it"
    ],
    "docs/how_to/run-under-systemd.md": [
        "makes a user, and an environment from a package index",
        "needs systemd as process 1; tests/unit/project/test_docs_links.py verifies the unit",
    ],
}
"""The blocks of code that are not run, page by page."""


@pytest.mark.timeout(300)
@pytest.mark.needs("sftp", "make", "curl", "ssh-keygen", "setsid", "clamd", "rbldnsd")
@pytest.mark.parametrize("name", [name for name, guide in GUIDES.items() if guide.steps])
def test_the_page_is_true(name: str, tmp_path: Path) -> None:
    for attempt in range(3):  # another process may take a port in between
        place = tmp_path / str(attempt)
        place.mkdir()
        try:
            run_page(name, place)
        except AssertionError as error:
            if attempt == 2 or not any(words in str(error) for words in TAKEN):
                raise
        else:
            return


TAKEN = ("address already in use", "in use by another process")


def run_page(name: str, place: Path) -> None:
    shell = GuideShell(place)
    try:
        for step in GUIDES[name].steps:
            if isinstance(step, Step):
                assert not (wrong := shell.run(step)), f"{name}: {wrong}"
            else:
                shell.write(*step)
    finally:
        shell.close()


def test_what_is_left_out_is_known() -> None:
    assert {name: guide.left_out for name, guide in GUIDES.items() if guide.left_out} == LEFT_OUT


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        (["a  b"], "a b\n", True),
        (["a"], "b\n", False),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["...", "c"], "a\nb\nc\n", True),
        (["a", "c"], "a\nb\nc\n", False),
        (["a"], "", False),
        ([], "anything\n", True),
        (["at 2026-01-02T03:04:05.678Z"], "at 2027-11-12T13:14:15.999Z\n", True),
        (["at 2026-01-02T03:04:05.678Z"], "at noon\n", False),
        (['{"a":1,...,"z":2}'], '{"a":1,"b":3,"z":2}\n', True),
        (['{"a":1,...,"z":2}'], '{"a":2,"b":3,"z":2}\n', False),
    ],
)
def test_the_comparison_sees_what_matters(expected: list[str], output: str, same: bool) -> None:
    assert (differences(expected, output, {}) == "") is same


def test_secrets_of_the_page_stand_for_those_of_the_run() -> None:
    learned: dict[str, str] = {}
    assert not differences(
        ["password aaaaa-bbbbb-ccccc-ddddd"], "password eeeee-fffff-ggggg-hhhhh\n", learned
    )
    assert learned == {"aaaaa-bbbbb-ccccc-ddddd": "eeeee-fffff-ggggg-hhhhh"}
