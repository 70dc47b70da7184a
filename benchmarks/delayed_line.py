"""A line to a server on this machine that is as slow as one across a continent: every byte arrives so much later.

As a program: prints its port, then passes on until it is ended. It delays and never narrows: bytes on the way are as many
as both ends send. No more than a stand-in for a network: no packet is lost and none overtakes another.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 18


@contextmanager
def delayed_line(port: int, round_trip_ms: float) -> Iterator[int]:
    """The port of a line to ``port``, served by a process of its own."""
    command = [sys.executable, __file__, "--to", str(port), "--one-way-ms", str(round_trip_ms / 2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            yield int(program.stdout.readline())
        finally:
            program.terminate()


async def serve(to: int, one_way_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, far_writer, one_way_s), pass_on(far_reader, writer, one_way_s))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way_s: float) -> None:
    """One direction, until its end or until either side hangs up."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def receive() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            on_the_way.put_nowait((loop.time() + one_way_s, data))

    receiving = asyncio.create_task(receive())
    try:
        while True:
            due, data = await on_the_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        receiving.cancel()
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--one-way-ms", type=float, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.to, options.one_way_ms / 1000))


if __name__ == "__main__":
    main()
