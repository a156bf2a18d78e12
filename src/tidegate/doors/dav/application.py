# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: who asks, which method, and the answer to what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.types import Receive, Scope, Send

from tidegate.doors.common.client_certificates import read_certificate
from tidegate.doors.dav import (
    finding,
    locking,
    moving,
    parts,
    patching,
    posting,
    preconditions,
    reading,
    writing,
)
from tidegate.doors.dav.call import Call, Method, Turns, rejection
from tidegate.doors.dav.client import Client
from tidegate.doors.dav.clients import Clients
from tidegate.doors.dav.request import Rejected, Request
from tidegate.doors.dav.wire import headers
from tidegate.errors import InvalidPath, PeerGone, TidegateError
from tidegate.model import VPath, http_scope

CHALLENGE: Final = (b"www-authenticate", b'Basic realm="Tidegate", charset="UTF-8"')

METHODS: Final[dict[str, tuple[Method, str]]] = {
    "GET": (reading.get, "download"),
    "HEAD": (reading.head, "stat"),
    "POST": (posting.post, "upload"),
    "PUT": (writing.put, "upload"),
    "PATCH": (writing.patch, "overwrite"),
    "MKCOL": (writing.mkcol, "mkdir"),
    "DELETE": (moving.delete, "delete_file"),
    "COPY": (moving.copy, "copy"),
    "MOVE": (moving.move, "rename"),
    "PROPFIND": (finding.propfind, "stat"),
    "PROPPATCH": (patching.proppatch, "properties"),
    "LOCK": (locking.lock, "lock"),
    "UNLOCK": (locking.unlock, "lock"),
}
"""By method: what answers it, and the word of `explain --op` for what it wants."""

log = logging.getLogger(__name__)


class DavApplication:
    """Answers every request that passed the edge.

    Args:
        clients: who are logged in.

    Attributes:
        draining: nothing new may begin.
    """

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.draining = False
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        try:
            if request.method == "OPTIONS":
                await reading.options(request)
            else:
                await self._serve(request)
        except Rejected as error:
            await self._reject(request, error)
        except PeerGone:
            return
        except asyncio.CancelledError:  # its client was sent away, or the server stops
            request.exchange.abort()
            raise

    async def _serve(self, request: Request) -> None:
        try:
            request.read_address()
        except InvalidPath as error:
            raise Rejected(404, error.text) from None
        address = request.address
        found = (METHODS if address is None or not address.uploads else parts.METHODS).get(request.method)
        if found is None:
            raise Rejected(405, "no such method here", headers=[(b"allow", reading.ALLOW)])
        method, intent = found
        client = await self._client(request)
        request.exchange.proved()
        if address is not None and address.user not in ("", client.principal.username):
            raise Rejected(404, "no such user here")
        scope = request.scope
        scope[http_scope.WHO], scope[http_scope.PEER] = client.principal.username, client.peer
        task = self.clients.begin(client, request.exchange)
        try:
            await self._answer(request, client, method, intent)
        finally:
            self.clients.done(client, task)

    async def _answer(self, request: Request, client: Client, method: Method, intent: str) -> None:
        address = request.address
        try:
            if address is not None and address.uploads:
                path = VPath.parse("/" + address.upload)  # of events; the file's is in Destination
            else:
                path = request.path
        except InvalidPath as error:
            client.session.failed(intent, request.raw_path.decode("latin-1"), error)
            raise Rejected(404 if request.prefix else 400, error.text) from None
        condition = preconditions.parsed_if(request)
        tokens = locking.submitted(condition, request.header("lock-token"))
        call = Call(
            request,
            client,
            path,
            self.clients.options,
            lambda: self.draining,
            self._turns,
            condition,
            tuple(tokens),
        )
        try:
            if call.tokens:
                with client.session.holding(call.tokens):
                    await method(call)
            else:
                await method(call)
        except Rejected as error:
            if error.cause is not None:
                call.failed(intent, path, error.cause)
            raise
        except PeerGone:
            raise
        except TidegateError as error:
            call.failed(intent, path, error)
            raise rejection(request, error) from None

    async def _reject(self, request: Request, error: Rejected) -> None:
        if request.started:  # part of another answer is out
            request.exchange.abort()
            return
        if error.code == 401 and request.binding.challenge:
            error.headers = (*error.headers, CHALLENGE)
        try:
            await request.reject(error)
        except PeerGone:
            return

    async def _client(self, request: Request) -> Client:
        """The client that asks.

        Raises:
            Rejected: nobody says so, or it is not true.
        """
        value = request.header("authorization")
        if not request.encrypted and not request.binding.plain_login:
            raise Rejected(403, "this server takes no logins in the clear: use https")
        certificate = _certificate(request)
        if value is None:
            name = common_name(certificate) if certificate is not None else ""
            if not name:
                raise Rejected(401, "log in with a user name and a password")
            return await self.clients.of(request, name, None, certificate)
        given = headers.basic(value)
        if given is None:
            raise Rejected(401, "Basic credentials are what this server takes")
        username, password = given
        return await self.clients.of(request, username, password, certificate)


def _certificate(request: Request) -> bytes | None:
    """The client's certificate, if the binding asks for any."""
    tls, connection = request.binding.tls, request.exchange.tls
    if tls is None or tls.clients is None or connection is None:
        return None
    found: bytes | None = connection.getpeercert(binary_form=True)
    return found


def common_name(certificate: bytes) -> str:
    """The common name of a certificate's subject, which is the user name; empty without exactly one."""
    from cryptography.x509.oid import NameOID

    try:
        names = read_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(names[0].value) if len(names) == 1 else ""
