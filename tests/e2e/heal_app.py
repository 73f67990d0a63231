"""The application of the healing scenarios, at 127.0.0.1:9001 of each PoP: POP LEDGER.  Standard library only.

  GET /file?n=N[&rate=R][&own=1][&split=S]   N bytes with a strong ETag, ranges honoured; R bytes a second
  GET /say?id=X                              {"pop", "id"}
  any /pay?id=X                              the same; a line in the ledger, before the answer, says that it was executed
  ...&silent=POP                             at that PoP: executed, and never answered
  any /pay?id=X&n=N                          N bytes instead
  GET /plain?n=N[&rate=R]                    N bytes without a validator
  GET /chunks?n=N[&rate=R]                   the same, chunked, in pieces of all sizes
  GET /close?n=N[&rate=R]                    the same, until the connection closes
  GET /gzip?n=N[&rate=R]                     chunked, Content-Encoding: gzip; see noise()
  ...&tick=S                                 a piece each S seconds (20 ms);  ...&slow=POP: the rate counts at that PoP only
  GET /events[?pause=S][&ids=no][&until=N]   text/event-stream: "id: K", "data: number K", half of one each S seconds (25 ms),
                                             behind Last-Event-ID; N of them

Byte i of a file is i * 131 mod 251. own=1: every even byte is the number of the PoP instead, under the same ETag: an
application that breaks its promise, and shows where a stream changed hands. Everything that comes in is in the ledger:
"POP METHOD TARGET BYTES SHA256" for a request, "POP GARBAGE REPR" for what is none."""
import asyncio
import gzip
import hashlib
import json
import os
import random
import re
import sys
import urllib.parse

POP, LEDGER = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
PERIOD = bytes(i * 131 % 251 for i in range(251))


def note(*words):
    os.write(LEDGER, (" ".join(map(str, (POP, *words))) + "\n").encode())


def content(begin, end, own):
    shift = begin % 251
    data = bytearray((PERIOD * ((end - begin) // 251 + 2))[shift:shift + end - begin])
    if own:
        first = begin % 2
        data[first::2] = bytes([int(POP[3:])]) * len(data[first::2])
    return bytes(data)


def noise(size):
    """Bytes that no compressor makes smaller, the same at every PoP."""
    return random.Random(size).randbytes(size)


def pace(query):
    """(bytes at once, seconds between them); 0 seconds: as fast as it goes"""
    rate, tick = int(query.get("rate", 0)), float(query.get("tick", 0.02))
    if not rate or query.get("slow", POP) != POP:
        return 65536, 0
    return max(1, int(rate * tick)), tick


async def send_file(writer, query, headers):
    size, own = int(query["n"]), "own" in query
    piece, tick = pace(query)
    etag, begin, status, extra = f'"file-{size}"', 0, "200 OK", ""
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
    if asked and headers.get("if-range", etag) == etag:
        begin, status = int(asked[1]), "206 Partial Content"
        extra = f"Content-Range: bytes {begin}-{size - 1}/{size}\r\n"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n"
                 f"{extra}X-App-Pop: {POP}\r\nContent-Length: {size - begin}\r\n\r\n".encode())
    while begin < size:
        part = min(size, begin + piece)
        writer.write(content(begin, part, own))
        await writer.drain()
        begin = part
        await asyncio.sleep(tick)


async def send_plain(writer, query, kind):
    body = gzip.compress(noise(int(query["n"])), mtime=0) if kind == "gzip" else content(0, int(query["n"]), False)
    piece, tick = pace(query)
    chunked, size = kind in ("chunks", "gzip"), len(body)
    framing = {"plain": f"Content-Length: {size}", "close": "Connection: close"}.get(kind, "Transfer-Encoding: chunked")
    framing += "\r\nContent-Encoding: gzip" if kind == "gzip" else ""
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-App-Pop: {POP}\r\n{framing}\r\n\r\n".encode())
    begin, number = 0, 0
    while begin < size:
        number += 1
        part = min(size, begin + max(1, piece * (number % 3 + 1) // 2))
        data = body[begin:part]
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if chunked else data)
        await writer.drain()
        begin = part
        await asyncio.sleep(tick)
    if chunked:
        writer.write(b"0\r\n\r\n")


async def send_events(writer, query, headers):
    pause, first = float(query.get("pause", 0.025)), "" if query.get("ids") == "no" else "id: {}\n"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    number = int(headers.get("last-event-id", 0))
    while number < int(query.get("until", 1 << 60)):
        number += 1
        for part in (first.format(number), f"data: number {number}\n\n"):  # an event in two pieces
            if part:
                writer.write(f"{len(part):x}\r\n{part}\r\n".encode())
                await writer.drain()
            await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")


async def serve(reader, writer):
    data = b""
    try:
        while True:
            data = b""
            data = await reader.readuntil(b"\r\n\r\n")
            first, *lines = data.decode("latin-1").split("\r\n")
            parts = re.fullmatch(r"([A-Z]+) (/\S*) HTTP/1\.1", first)
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
            if not parts:
                note("GARBAGE", repr(data))
                break
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            url = urllib.parse.urlsplit(parts[2])
            query = dict(urllib.parse.parse_qsl(url.query))
            note(parts[1], parts[2], len(body), hashlib.sha256(body).hexdigest())
            if query.get("silent") == POP:
                await reader.read()  # until the other side goes
                break
            if url.path == "/file":
                await send_file(writer, query, headers)
                continue
            if url.path in ("/plain", "/chunks", "/gzip", "/close"):
                await send_plain(writer, query, url.path[1:])
                if url.path == "/close":
                    break
                continue
            if url.path == "/events":
                await send_events(writer, query, headers)
                continue
            if "n" in query:
                writer.write(f"HTTP/1.1 200 OK\r\nX-App-Pop: {POP}\r\nContent-Length: {query['n']}\r\n\r\n".encode()
                             + content(0, int(query["n"]), False))
                await writer.drain()
                continue
            answer = json.dumps({"pop": POP, "id": query.get("id")}).encode()
            writer.write(f"HTTP/1.1 200 OK\r\nX-App-Pop: {POP}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
            await writer.drain()
    except asyncio.IncompleteReadError as error:
        if not data and error.partial:  # a head that nobody finished; an unfinished body is a client that died
            note("PARTIAL", repr(error.partial))
    except OSError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 9001, backlog=1024)
    await server.serve_forever()


asyncio.run(main())
