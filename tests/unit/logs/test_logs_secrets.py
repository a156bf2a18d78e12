# SPDX-License-Identifier: Apache-2.0
"""Trying hard to get a secret into the log."""

import base64
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.abc import Credential
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.logs import LogOptions, open_log, redact
from tidegate.model import Account

SECRET = "hunter2-Zq9"
PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    .decode()
)
PEM_BODY = PEM.splitlines()[1]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"
ARGON = hash_password(SECRET, HashOptions(argon2_memory_kib=1024))
HASHES = [
    ARGON,
    "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$pbkdf2-sha256$150000$E86a9YMX3zC7$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    "$pbkdf2-b64salt-sha256$1000$c2FsdA==$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5",
    "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
    "$apr1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
    "$5$rounds=5000$saltsalt$T6m3RZsX3wZq0Y7kZQ1dWm1Q1d1uJrQZ2rMZ0ZwY1d4",
    "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC",
    "{MD5}X03MO1qnZdYdgyfeuILPmQ==",
    "{SHA256}5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
    "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g9s2Ae",
]

MESSAGES = [
    f"login with password={SECRET}",
    f"password: {SECRET}, user: alice",
    f"config {{'password': '{SECRET}', 'x': 1}}",
    f'body {{"client_secret": "{SECRET}", "a": 2}}',
    f"passphrase = {SECRET}",
    f"api_key={SECRET}&x=1",
    f"connecting to postgresql://tide:{SECRET}@db.example/tide?sslmode=require",
    f"mysql://root:{SECRET}@127.0.0.1/x",
    f"Authorization: Bearer {SECRET}",
    f"Authorization: Basic {base64.b64encode(b'admin:' + SECRET.encode()).decode()}",
    f"X-SFTPGO-API-KEY: {SECRET}",
    f"cookie: jwt={JWT}",
    f"token {JWT} expired",
    f"key is {PEM}",
    f"key is {PEM!r}",
    f"cut off {PEM[:200]}",
    *[f"stored hash {text} for alice" for text in HASHES],
    *[f"user=alice hash={text!r}" for text in HASHES],
]

SECRETS = [
    SECRET,
    PEM_BODY,
    PEM_BODY[:40],
    JWT,
    base64.b64encode(b"admin:" + SECRET.encode()).decode(),
    *(text[-12:] for text in HASHES),
]

FIELDS: list[dict[str, Any]] = [
    {"password": SECRET},
    {"Password": SECRET},
    {"new_password": SECRET},
    {"db.password": SECRET},
    {"passwd": SECRET},
    {"pwd": SECRET},
    {"secret": SECRET},
    {"client_secret": SECRET},
    {"access_token": SECRET},
    {"authorization": SECRET},
    {"Cookie": SECRET},
    {"api_key": SECRET},
    {"private_key": SECRET},
    {"passphrase": SECRET},
    {"connection_string": SECRET},
    {"password_hash": SECRET},
    {"credentials": [SECRET]},
    {"headers": {"Authorization": SECRET, "X-SFTPGO-API-KEY": SECRET}},
    {"user": {"name": "alice", "filters": {"totp_config": {"secret": SECRET}}}},
    {"rows": [{"password": SECRET}, ({"token": SECRET},)]},
    {"args": ["--password", f"--password={SECRET}"]},
    {"value": ARGON},
    {"nested": [[[PEM]]]},
    {"raw": SECRET.encode()},
    {"raw": memoryview(SECRET.encode())},
    {"credential": Credential("password", secret=SECRET)},
    {"account": Account(username="alice", password=ARGON)},
    {"plain_account": Account(username="alice", password=SECRET)},
    {"virtual_path": f"/upload/{PEM}"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.log"


def assert_clean(raw: bytes) -> None:
    text = raw.decode()
    unescaped = json.dumps([json.loads(line) for line in text.splitlines()])
    for secret in SECRETS:
        assert secret not in text
        assert secret not in unescaped


@pytest.mark.parametrize("message", MESSAGES)
def test_messages(path: Path, message: str) -> None:
    log = open_log(LogOptions(file_path=str(path), level="debug"))
    try:
        logging.getLogger("tidegate.a").info(message)
        logging.getLogger("asyncssh").warning("%s", message)
        logging.getLogger("tidegate.b").error(
            "%s", message, extra={"fields": {"note": message, "deep": {"x": [message]}}}
        )
        try:
            raise RuntimeError(message)
        except RuntimeError:
            logging.getLogger("uvicorn.error").exception("failed: %s", message)
    finally:
        log.close()

    raw = path.read_bytes()
    assert raw.count(b"\n") == 4
    assert_clean(raw)


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: next(iter(fields)))
def test_fields(path: Path, fields: dict[str, Any]) -> None:
    log = open_log(LogOptions(file_path=str(path)))
    try:
        logging.getLogger("tidegate.b").info(
            "x", extra={"fields": {k.replace(".", "_"): v for k, v in fields.items()}}
        )
        logging.getLogger("tidegate.record").info("", extra={"sender": "x", "fields": fields})
        logging.getLogger("tidegate.c").info("%s", fields) if "raw" not in fields else None
    finally:
        log.close()

    assert_clean(path.read_bytes())


def test_what_is_no_secret_stays(path: Path) -> None:
    line = {
        "username": "alice",
        "virtual_path": "/in/password=1 $6$saltsalt$abcdefgh {MD5}notahash.txt",
        "text": "permission: upload on /in",
        "error": "bad_credential",
        "method": "publickey+password",
        "login_type": "password",
        "has_password": True,
        "size_bytes": 5,
        "key_fingerprint": "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAUw== alice",
    }

    assert redact.fields(line) == line


def test_bounds() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]

    shown = redact.fields({"text": "a" * 100_000, "deep": deep, "wide": list(range(10_000))})

    assert len(shown["text"]) == redact.TEXT_LIMIT + 3
    assert len(redact.path("/a" * 100_000)) == redact.TEXT_LIMIT
    assert "..." in json.dumps(shown["deep"])
    assert len(shown["wide"]) == redact.ITEMS_LIMIT


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from(["password", "Passphrase", "token", "api_key"]),
)
def test_whatever_stands_around_it(before: str, after: str, name: str) -> None:
    assert SECRET not in redact.text(f'{before} {name}="{SECRET}" {after}')
    assert SECRET not in json.dumps(redact.fields({before: {name: SECRET}, after: [{name.upper(): SECRET}]}))


@settings(max_examples=100, deadline=2000)
@given(st.text(alphabet="$:@/=\"' \\{}pasword-BEGIN KEY.eyJ0", max_size=3000))
def test_no_text_takes_long(text: str) -> None:
    assert isinstance(redact.text(text), str)


@pytest.mark.parametrize(
    "text",
    ["password" * 2000, "a://" * 4000, "$1$" * 5000, "eyJ" + "a" * 16000, "password=" + '"' + "\\" * 16000, "-" * 16000, "-----BEGIN PRIVATE KEY-----" * 500, "x_" * 8000 + "password", " " * 16000 + "=", "a" * 16000 + "://"],
)  # fmt: skip
def test_no_text_is_slow_on_purpose(text: str) -> None:
    import time

    started = time.process_time()
    redact.text(text)

    assert time.process_time() - started < 0.5


def test_environment_dump(path: Path) -> None:
    log = open_log(LogOptions(file_path=str(path)))
    try:
        environ = {
            **os.environ,
            "TIDEGATE_DATA_PROVIDER__PASSWORD": SECRET,
            "SFTPGO_DEFAULT_ADMIN_PASSWORD": SECRET,
        }
        logging.getLogger("tidegate.a").info("environment %s", environ)
        logging.getLogger("tidegate.a").info("environment", extra={"fields": {"environ": environ}})
    finally:
        log.close()

    assert SECRET.encode() not in path.read_bytes()


async def test_values_of_statements_stay_out_at_every_level(path: Path, tmp_path: Path) -> None:
    """SQLAlchemy logs each statement with its values once its logger lets it."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    log = open_log(LogOptions(file_path=str(path), level="debug"))
    try:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/db")
        async with engine.begin() as connection:
            await connection.execute(text("SELECT :value"), {"value": SECRET})
        await engine.dispose()
        logging.getLogger("tidegate.test").debug("still here")
    finally:
        log.close()
    raw = path.read_bytes()
    assert b"still here" in raw
    assert b"SELECT" not in raw
    assert SECRET.encode() not in raw
