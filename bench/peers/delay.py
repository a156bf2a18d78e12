"""A relay on loopback that keeps every byte for some time in each direction: a far client on one machine.

Unlike a real line it loses nothing and has no bandwidth limit, so what it shows is what windows and pipelining
make of a round trip. usage: delay.py LISTEN_PORT TARGET_PORT MILLISECONDS_EACH_WAY
"""

import asyncio
import sys

import uvloop

listen, target, delay = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000
IN_FLIGHT = 256 << 20  # bytes held in one direction; more than any window


class Half(asyncio.Protocol):
    """One side of a relayed connection; what it receives leaves on the other side, later."""

    def __init__(self):
        self.transport = self.other = None
        self.held = 0
        self.early = []

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.held += len(data)
        if self.held > IN_FLIGHT:
            self.transport.pause_reading()
        asyncio.get_running_loop().call_later(delay, self.deliver, data)

    def deliver(self, data):
        self.held -= len(data)
        if self.held < IN_FLIGHT // 2:
            self.transport.resume_reading()
        if self.other is None:
            self.early.append(data)
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def meet(self, other):
        self.other = other
        for data in self.early:
            other.transport.write(data)

    def connection_lost(self, exc):
        if self.other is not None:
            asyncio.get_running_loop().call_later(delay, self.other.transport.close)


class EdgeMiddleware(Half):
    def connection_made(self, transport):
        super().connection_made(transport)
        self.task = asyncio.ensure_future(self.reach())

    async def reach(self):
        _, back = await asyncio.get_running_loop().create_connection(Half, "127.0.0.1", target)
        back.meet(self)
        self.meet(back)


async def main():
    server = await asyncio.get_running_loop().create_server(EdgeMiddleware, "127.0.0.1", listen)
    await server.serve_forever()


uvloop.run(main())
