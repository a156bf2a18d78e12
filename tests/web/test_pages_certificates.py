# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates on a page: forms of host keys, ends in words, what cannot be read, and sealed secrets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.browser import Browser, Shown, browser
from tests.support.doors import port_of, services_of
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

EVIL = "<img src=x onerror=alert(1)>"
NOW = dt.datetime.now(dt.UTC)


class Authority:
    """An authority with certificates and a revocation list, all in files."""

    def __init__(self, home: Path, *, days: float = 365) -> None:
        self.home, self.key = home, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, EVIL)])
        self.file = home / "ca.pem"
        self.file.write_bytes(self._made(self.name, self.key.public_key(), days).public_bytes(PEM))

    def _made(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.Certificate:
        builder = x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(NOW - dt.timedelta(days=400))
        builder = builder.not_valid_after(NOW + dt.timedelta(days=days, minutes=5))
        names = [x509.DNSName("files.example.org"), x509.DNSName("localhost")]
        return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(
            self.key, hashes.SHA256()
        )

    def server(self, name: str, days: float, *, chain: bytes = b"") -> dict[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        (self.home / f"{name}.pem").write_bytes(
            self._made(subject, key.public_key(), days).public_bytes(PEM) + chain
        )
        (self.home / f"{name}.key").write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return {"certificate_file": f"{name}.pem", "certificate_key_file": f"{name}.key"}

    def revoked(self, days: float) -> str:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW - dt.timedelta(days=30))
        made = builder.next_update(NOW + dt.timedelta(days=days)).sign(self.key, hashes.SHA256())
        (self.home / "crl.pem").write_bytes(made.public_bytes(PEM))
        return "crl.pem"


PEM = serialization.Encoding.PEM


@contextlib.asynccontextmanager
async def signed_in(world: WebWorld, name: str = ADMIN) -> AsyncIterator[tuple[Browser, Shown]]:
    """Somebody who looks at the page."""
    async with browser(world).client as client:
        made = Browser(client)
        await made.sign_in(name, PASSWORD)
        yield made, await made.get("/certificates")


async def test_every_certificate_is_named_with_its_end_in_words(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ftp = {
        "bindings": [
            {
                "port": free_port(),
                "address": "127.0.0.1",
                "client_auth_type": 2,
                **authority.server("soon", 3),
            }
        ],
        "ca_certificates": ["ca.pem"],
        "ca_revocation_lists": [authority.revoked(-1)],
    }
    chain = authority.file.read_bytes()
    telemetry = {"bind_port": free_port(), **authority.server("well", 90, chain=chain)}
    async with web_world(tmp_path, ftpd=ftp, telemetry=telemetry) as world:
        async with signed_in(world) as (who, page):
            assert "1 of them cannot be used." in page.text
            rows = {row.text.partition(str(tmp_path))[0]: row.text for row in page.all("tr")}
            assert "ends in 3 days" in rows["ftpd.bindings[0]"] and "CN=soon" in rows["ftpd.bindings[0]"]
            assert "DNS:files.example.org, DNS:localhost" in rows["ftpd.bindings[0]"]
            assert "EC secp256r1" in rows["ftpd.bindings[0]"]
            assert "has ended" in rows["ftpd.ca_revocation_lists[0]"] and "0 revoked" in page.text
            assert "ends in 365 days" in rows["ftpd.ca_certificates[0]"]
            assert "2 of its chain or file" in page.text and "onerror" in page.text and not page.all("img")
            kinds = [one.text for one in page.all("span", class_="pill soon")]
            assert kinds == ["ends in 3 days"]
            assert [one.text for one in page.all("span", class_="pill now")] == ["has ended"]
            assert str(tmp_path) in page.text
            (tmp_path / "soon.pem").write_text("no certificate")
            (tmp_path / "crl.pem").unlink()
            page = await who.get("/certificates")
            assert "holds no certificate in PEM" in page.text and "cannot be read: No such file" in page.text
        await world.add_admin("nora", "view_status")
        async with signed_in(world, "nora") as (nora, page):
            assert page.status == 200 and str(tmp_path) not in page.text
            assert "Secrets in records" not in page.text
            assert (await nora.post("/certificates/secrets")).status == 403


@pytest.mark.needs("ssh-keygen")
async def test_host_keys_are_told_as_openssh_tells_them(tmp_path: Path) -> None:
    for kind, options in (("ed25519", []), ("rsa", ["-b", "3072"]), ("ecdsa", [])):
        run("-q", "-t", kind, *options, "-N", "", "-f", str(tmp_path / f"id_{kind}"))
    run("-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ca"))
    run("-q", "-s", str(tmp_path / "ca"), "-I", EVIL, "-h", "-n", "files.example.org,files", "-V", "-1d:+5d5m",
        str(tmp_path / "id_ed25519.pub"))  # fmt: skip
    sftpd = {"bindings": [], "host_certificates": ["id_ed25519-cert.pub"]}
    async with web_world(tmp_path, ssh=True, sftpd=sftpd) as world, signed_in(world) as (who, _):
        page = await who.get("/certificates?host=files.example.org")
        commands = [one.text.removesuffix("Copy") for one in page.all("div", class_="code")]
        for kind in ("ed25519", "rsa", "ecdsa"):
            public = tmp_path / f"id_{kind}.pub"
            for form in ("sha256", "md5"):
                assert run("-l", "-E", form, "-f", str(public)).split()[1] in commands
            record = next(
                line
                for line in run("-r", "files.example.org.", "-f", str(public)).splitlines()
                if " 2 " in line[-70:]
            )
            assert record in commands, (record, commands)
            key = " ".join(public.read_text().split()[:2])
            assert f"[files.example.org]:{port_of(world.app)} {key}" in commands and key in commands
        known = tmp_path / "known"
        known.write_text("\n".join(one for one in commands if one.startswith("[files")))
        assert "found" in run("-F", f"[files.example.org]:{port_of(world.app)}", "-f", str(known))
        assert "files.example.org, files" in page.text and "ends in 5 days" in page.text
        assert EVIL in page.text and not page.all("img")
        for wrong in (f"x{EVIL}", "a b", "a\nb", "-" + "x" * 300):
            shown = await who.get(f"/certificates?{urlencode({'host': wrong})}")
            assert "[127.0.0.1]:" in shown.text and shown.value("host") == "127.0.0.1"


def run(*arguments: str) -> str:
    done = subprocess.run(["ssh-keygen", *arguments], check=True, timeout=20, capture_output=True, text=True)
    return done.stdout


async def test_secrets_are_counted_by_their_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(255, 223, -1)))
    (tmp_path / "key").chmod(0o600)
    kms = {"secrets": {"master_key_path": "key"}}
    storage = {
        "provider": 1,
        "s3config": {"bucket": "b", "access_key": "k", "access_secret": "the secret itself"},
    }
    async with web_world(tmp_path, kms=kms) as world:
        made = await world.client.post("/api/v2/users", json=world.user("mara", filesystem=storage))
        assert made.status_code == 201, made.text
        async with signed_in(world) as (who, page):
            assert "secrets are encrypted under master key" in page.text and page.all("i", class_="dot ok")
            assert (await who.post("/certificates/secrets")).status == 303
            await asyncio.gather(*services_of(world.app).jobs._tasks)
            assert (await who.get("/certificates/progress")).answer.headers["hx-refresh"] == "true"
            page = await who.get("/certificates")
            assert "Counted" in page.text and "access_secret" in page.text
            assert "plain text" not in page.text and "the secret itself" not in page.answer.text
    async with web_world(tmp_path) as world, signed_in(world) as (who, page):
        assert "kept in plain text" in page.text and "No SSH door is open" in page.text
        assert "No certificate is in use" in page.text


async def test_health_warns_of_a_chain_that_has_ended(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    ended = Authority(tmp_path / "old", days=-10).file.read_bytes()
    telemetry = {"bind_port": free_port(), **Authority(tmp_path).server("well", 90, chain=ended)}
    async with web_world(tmp_path, telemetry=telemetry) as world:
        checks = (await world.client.get("/api/v2/status")).json()["health"]["checks"]
        (found,) = [one for one in checks if one["name"] == "certificates"]
        assert (found["status"], found["text"]) == ("warn", "the chain of telemetry has ended")
        async with signed_in(world) as (_, page):
            assert "1 of them cannot be used." in page.text
