# SPDX-License-Identifier: Apache-2.0
"""OpenSSL's FIPS provider, Debian's build, as the default of programs that are started with an environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.needs import absent
from tests.support.web_servers import CACHE

PACKAGE = CACHE / "openssl-provider-fips"
"""Unpacked by .ci/run."""

CONFIGURATION = """\
config_diagnostics = 1
openssl_conf = openssl_init
.include {place}/fipsmodule.cnf
[openssl_init]
providers = providers
alg_section = algorithms
[providers]
fips = fips_sect
base = base
[base]
activate = 1
[algorithms]
default_properties = fips=yes
"""


SECOND = "TESTS_SECOND_MODULES"
_START = (
    f"import hashlib, os, ssl; os.environ['OPENSSL_MODULES'] = os.environ['{SECOND}']; "
    "from tidegate.cli.main import main; main()"
)
COMMAND = (sys.executable, "-c", _START)
"""The command of the product. Two copies of OpenSSL are in the process, Python's and that of the cryptography
library's wheel. One file of the provider serves the first that loads it: the second is given a file of its own."""


def fips_environment(place: Path) -> dict[str, str]:
    """Variables for `COMMAND` that make both copies of OpenSSL use the provider alone.

    Args:
        place: a directory for its configuration.
    """
    found = next(PACKAGE.rglob("fips.so"), None)
    if found is None:
        absent("openssl-provider-fips (.ci/run unpacks it from Debian 13)")
    for name in ("first", "second"):
        (place / name).mkdir()
        shutil.copy(found, place / name)
    subprocess.run(
        ["openssl", "fipsinstall", "-out", place / "fipsmodule.cnf", "-module", place / "first" / "fips.so"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    configuration = place / "openssl.cnf"
    configuration.write_text(CONFIGURATION.format(place=place))
    return {
        "OPENSSL_CONF": str(configuration),
        "OPENSSL_MODULES": str(place / "first"),
        SECOND: str(place / "second"),
    }
