# SPDX-License-Identifier: Apache-2.0
"""aioftp: uploads a tree, lists it, fetches it again and removes it.

Words: host, port, user, password, plain|tls|implicit, file of the authority, local tree, place for its copy.
"""

import asyncio
import ssl
import sys

import aioftp


async def main() -> None:
    host, port, user, password, mode, ca, local, back = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    client = aioftp.Client(socket_timeout=20, ssl=context if mode == "implicit" else None)
    try:
        await client.connect(host, int(port))
        if mode == "tls":
            await client.upgrade_to_tls(context)
        await client.login(user, password)
        await client.upload(local, "/up", write_into=True)
        print("\n".join(sorted([path.name for path, _ in await client.list("/up")])))
        await client.download("/up", back, write_into=True)
        await client.rename("/up", "/moved")
        await client.remove("/moved")
        await client.quit()
    finally:
        client.close()


asyncio.run(main())
