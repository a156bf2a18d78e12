# SPDX-License-Identifier: Apache-2.0
"""A certificate authority of the program openssl: client certificates, and a list of those it revoked."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[ca]
default_ca = own
[own]
database = {directory}/index
serial = {directory}/serial
crlnumber = {directory}/crlnumber
new_certs_dir = {directory}
certificate = {directory}/ca.pem
private_key = {directory}/ca.key
default_md = sha256
default_days = 2
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
[signs]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[client]
basicConstraints = CA:false
extendedKeyUsage = clientAuth
[dn]
"""


@dataclass(frozen=True)
class Authority:
    """An authority in a directory of its own.

    Attributes:
        pem: its certificate.
        crl: its revocation list, once `revoke` or `renew_list` made it.
    """

    directory: Path

    @property
    def pem(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def crl(self) -> Path:
        return self.directory / "crl.pem"

    def openssl(self, *words: str | Path) -> None:
        done = subprocess.run(
            ["openssl", *map(str, words)], cwd=self.directory, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def client(self, name: str, *, subject: str = "", days: str = "2") -> tuple[Path, Path]:
        """A client's certificate and key; `subject` instead of ``/CN=name``."""
        key, request, made = (self.directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
        self.openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "config",
            "-subj", subject or f"/CN={name}", "-keyout", key, "-out", request,
        )  # fmt: skip
        self.openssl(
            "ca", "-batch", "-notext", "-config", "config", "-extensions", "client",
            "-days", days, "-in", request, "-out", made,
        )  # fmt: skip
        return made, key

    def revoke(self, certificate: Path) -> None:
        """Take a certificate back, and make the list anew."""
        self.openssl("ca", "-config", "config", "-revoke", certificate)
        self.renew_list()

    def renew_list(self, *, seconds: int = 3600) -> None:
        """Make the list anew; it is valid for so long."""
        self.openssl("ca", "-config", "config", "-gencrl", "-crlsec", str(seconds), "-out", "crl.new")
        (self.directory / "crl.new").replace(self.crl)


def authority(directory: Path, name: str) -> Authority:
    """A root of that name."""
    directory.mkdir(parents=True)
    (directory / "index").write_text("")
    (directory / "serial").write_text("1000\n")
    (directory / "crlnumber").write_text("01\n")
    (directory / "config").write_text(
        _CONFIG.format(directory=directory) + "[req]\ndistinguished_name = dn\n"
    )
    made = Authority(directory)
    made.openssl(
        "req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-config", "config",
        "-extensions", "signs", "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem",
    )  # fmt: skip
    return made
