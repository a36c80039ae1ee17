"""How evenly keep-alive connections spread over processes on one port: one socket for all, or one for each."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
from collections import Counter
from pathlib import Path

import uvloop
from pages.page import describe_machine, markdown_table

from service.web.server import listen, listen_in_parts

PAUSE_SECONDS = 0.005
"""Between connections that come one by one."""


def serve(listener: socket.socket) -> None:
    """Tell whoever connects which process took the connection."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(os.getpid().to_bytes(4, "big"))
        await reader.read()
        writer.close()

    async def forever() -> None:
        async with await asyncio.start_server(tell, sock=listener) as server:
            await server.serve_forever()

    uvloop.run(forever())


async def takers(port: int, connections: int, pause: float) -> Counter[int]:
    """How many of the connections each process took."""
    writers, told = [], Counter[int]()

    async def connect() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        told[int.from_bytes(await reader.readexactly(4), "big")] += 1

    if pause:
        for _ in range(connections):
            await connect()
            await asyncio.sleep(pause)
    else:
        await asyncio.gather(*(connect() for _ in range(connections)))
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    return told


def rows(title: str, listeners: list[socket.socket], options: argparse.Namespace) -> list[list[str]]:
    """The table's rows for processes on these sockets."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=serve, args=(listener,), daemon=True) for listener in listeners]
    for process in processes:
        process.start()
    port, found = listeners[0].getsockname()[1], []
    try:
        while len(uvloop.run(takers(port, 8 * len(processes), PAUSE_SECONDS))) < len(processes):
            pass  # until all are up
        for pause, coming in ((0.0, "at once"), (PAUSE_SECONDS, "one by one")):
            for _ in range(options.rounds):
                told = uvloop.run(takers(port, options.connections, pause))
                shares = sorted((told[process.pid or 0] for process in processes), reverse=True)
                found.append([title, coming, " ".join(map(str, shares))])
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return found


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4, help="that share the port")
    parser.add_argument("--connections", type=int, default=64, help="that come")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind")
    parser.add_argument("--out", type=Path, help="also write the page here")
    options = parser.parse_args()
    shared = [listen("127.0.0.1", 0)] * options.processes
    parts = listen_in_parts("127.0.0.1", 0, options.processes)
    table = [*rows("one socket for all", shared, options), *rows("one for each", parts, options)]
    facts = [f"- {name}: {value}" for name, value in describe_machine(1).items()]
    head = "sockets|connections come|taken by each process"
    page = "\n\n".join(["# benchmarks/connections.py", "\n".join(facts), markdown_table(head, table)]) + "\n"
    print(page, end="")
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
