#!/usr/bin/python3
"""Debian's websockets library as a client of the scenarios: URL deflate|plain.

  stdin    "say N"    says the numbers that it has not said yet, up to N, one each 10 ms
           "close"    Close 1000, and the end
  stdout   "open PORT POP EXTENSIONS", "text ...", "closed CODE"; after that it connects again, as the library's own loop does
"""
import asyncio
import sys

import websockets

URL, COMPRESSION = sys.argv[1], "deflate" if sys.argv[2] == "deflate" else None


def tell(*words):
    print(*words, flush=True)


async def commands():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def obey(orders, socket):
    """Returns when it is to end; a connection that is lost raises, or leaves it waiting for the next order."""
    said = 0
    while (line := (await orders.readline()).split()) and line[0] == b"say":
        while said < int(line[1]):
            said += 1
            await socket.send(str(said))
            await asyncio.sleep(0.01)


async def listen(socket):
    try:
        while True:
            tell("text", await socket.recv())
    except websockets.ConnectionClosed:
        tell("closed", socket.close_code)


async def main():
    orders = await commands()
    async for socket in websockets.connect(URL, compression=COMPRESSION):
        tell("open", socket.local_address[1], socket.response_headers.get("X-App-Pop", "-"),
             ",".join(one.name for one in socket.extensions) or "-")
        obeying, listening = asyncio.ensure_future(obey(orders, socket)), asyncio.ensure_future(listen(socket))
        await asyncio.wait([obeying, listening], return_when=asyncio.FIRST_COMPLETED)
        if obeying.done() and not obeying.exception():
            await socket.close()
            await listening
            return
        obeying.cancel()
        await listening


asyncio.run(main())
