"""``python -m tests.chaos.relay LISTEN=TARGET …`` (host:port each): passes TCP connections on.

A host in a namespace reaches the servers of the machine through it, and nothing else. When it is told to end it
prints how many bytes each address was sent, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: Counter[str], name: str
) -> None:
    try:
        while data := await reader.read(65_536):
            sent[name] += len(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.transport.abort()
        return
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()


async def _serve(pairs: list[str]) -> Counter[str]:
    sent: Counter[str] = Counter()
    servers = []
    for pair in pairs:
        listen, target = pair.split("=")

        async def passed_on(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str = target
        ) -> None:
            try:
                there, back = await asyncio.open_connection(*_place(target))
            except OSError:
                writer.transport.abort()
                return
            try:
                await asyncio.gather(_pump(reader, back, sent, target), _pump(there, writer, Counter(), ""))
            finally:
                writer.transport.abort()
                back.transport.abort()

        host, port = _place(listen)
        servers.append(await asyncio.start_server(passed_on, host, port, backlog=1024))
    print("ready", flush=True)
    enough = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    await enough.wait()
    for server in servers:
        server.close()
    return sent


def main() -> int:
    print(json.dumps(asyncio.run(_serve(sys.argv[1:]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
