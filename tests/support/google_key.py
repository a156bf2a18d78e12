# SPDX-License-Identifier: Apache-2.0
"""The key of a service account that no cloud knows, and a server that gives tokens for it."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "https://oauth2.googleapis.com/token"
"""The audience that every assertion names, wherever it is sent."""


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """One for the process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account(token_uri: str, **more: str) -> str:
    """The JSON text of a service account, whose tokens come from `token_uri`."""
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    found = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": "k1",
        "private_key": private_key().private_bytes(*how).decode(),
        "client_email": "gate@project-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
        **more,
    }
    return json.dumps({name: value for name, value in found.items() if value})


class TokenServer:
    """Gives access tokens on the loopback, as Google's servers do (RFC 7523) and as those of an instance do.

    Attributes:
        endpoint: its URL.
        given: tokens so far.
        refusal: body of an error in place of a token; None for none.
        date: of the answers, in place of the true one.
        location: where askers are sent on to instead; empty for nowhere.
        asked: path and ``Authorization`` of every request.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.given: list[str] = []
        self.refusal: dict[str, str] | None = None
        self.status = 400
        self.date = ""
        self.location = ""
        self.asked: list[tuple[str, str]] = []
        self.seconds = 3600

    @property
    def token_uri(self) -> str:
        """The place that gives tokens to a service account."""
        return f"{self.endpoint}/token"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Status and JSON."""
        if method == "GET" and path.startswith("/computeMetadata/v1/"):
            return self._of_instance(path)
        if (method, path) == ("GET", "/"):
            return 200, ""  # asked to find out if this is an instance
        assert (method, path) == ("POST", "/token"), (method, path)
        if self.refusal is not None:
            return self.status, self.refusal
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        public = private_key().public_key()
        claims = jwt.decode(form["assertion"], public, algorithms=["RS256"], audience=AUDIENCE)
        assert claims["iss"] == "gate@project-1.iam.gserviceaccount.com"
        assert claims["scope"].startswith("https://www.googleapis.com/auth/devstorage.")
        return 200, self._token()

    def _of_instance(self, path: str) -> tuple[int, object]:
        name = path.partition("?")[0].removeprefix("/computeMetadata/v1/")
        if name.endswith("/token"):
            return 200, self._token()
        if name.startswith("instance/service-accounts/default"):
            return 200, {"email": "default@project-1.iam.gserviceaccount.com", "scopes": []}
        return (200, "project-1") if name == "project/project-id" else (404, "")

    def _token(self) -> dict[str, object]:
        self.given.append(f"token-{len(self.given)}-{secrets.token_hex(8)}")
        return {"access_token": self.given[-1], "expires_in": self.seconds, "token_type": "Bearer"}


@contextlib.contextmanager
def token_server() -> Iterator[TokenServer]:
    """A server of tokens, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            tokens.asked.append((self.path, self.headers.get("Authorization") or ""))
            if tokens.location:
                status, found = 302, ""  # type: tuple[int, object]
            else:
                status, found = tokens.answer(method, self.path, body)
            text = found if isinstance(found, str) else json.dumps(found)
            self.send_response_only(status)
            self.send_header("Date", tokens.date or self.date_time_string())
            self.send_header("Metadata-Flavor", "Google")
            if tokens.location:
                self.send_header("Location", tokens.location)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tokens = TokenServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield tokens
        finally:
            server.shutdown()
            thread.join()
