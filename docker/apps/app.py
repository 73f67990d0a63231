#!/usr/bin/python3
"""The application behind nginx at each PoP: POP PORT.  Standard library only.

  PUT or POST /upload        answers {"pop", "bytes", "sha256"}
  GET /slow?bytes=N&rate=R   N bytes of a known pattern (byte i is i * 131 mod 251), R bytes per second
  GET /who                   {"pop"}
  GET /events?interval=MS    text/event-stream: "id: K", "data: number K", one each interval, behind Last-Event-ID
  GET /ws?interval=MS        WebSocket: the texts "1", "2", "3" ... one each interval; what the client sends comes back
  GET /count?interval=MS     WebSocket: the same texts, and nothing comes back. Message number i is "i" at every PoP, so any instance can go
                             on with it (docs/websocket.md), and needs no memory that it shares with others
"""
import asyncio
import base64
import hashlib
import json
import struct
import sys
import urllib.parse

POP = sys.argv[1]
PERIOD = bytes(i * 131 % 251 for i in range(251))
WS_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_MAX = 1 << 20


class BadRequest(Exception):
    pass


async def read_head(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {}
    for line in rest:
        key, colon, value = line.partition(":")
        if colon:
            headers[key.strip().lower()] = value.strip()
    return method, urllib.parse.urlsplit(target), headers


async def body_parts(reader, headers):
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            left = size
            while left:
                part = await reader.read(min(left, 65536))
                if not part:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(part)
                yield part
            await reader.readline()
            if size == 0:
                return
    left = int(headers.get("content-length", 0))
    while left:
        part = await reader.read(min(left, 65536))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
        yield part


def answer(writer, status, value):
    body = json.dumps(value).encode() + b"\n"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def upload(reader, writer, headers):
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest, size = hashlib.sha256(), 0
    async for part in body_parts(reader, headers):
        digest.update(part)
        size += len(part)
    answer(writer, "200 OK", {"pop": POP, "bytes": size, "sha256": digest.hexdigest()})


async def slow(writer, query):
    total, rate = int(query.get("bytes", 1000000)), max(1, int(query.get("rate", 100000)))
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {total}\r\n\r\n".encode())
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    while sent < total:
        due = min(total, int((loop.time() - start) * rate) + 1)
        while sent < due:
            size = min(65536, due - sent)
            shift = sent % 251
            writer.write((PERIOD * (size // 251 + 2))[shift:shift + size])
            await writer.drain()
            sent += size
        await asyncio.sleep(0.02)


async def events(writer, query, headers):
    """The same bytes at every PoP: an event that is half delivered when its PoP dies can be finished by another."""
    interval, number = int(query.get("interval", 100)) / 1000, int(headers.get("last-event-id", 0))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        number += 1
        event = f"id: {number}\ndata: number {number}\n\n"
        writer.write(f"{len(event):x}\r\n{event}\r\n".encode())
        await writer.drain()
        await asyncio.sleep(interval)


def frame(opcode, payload):
    if len(payload) < 126:
        return struct.pack(">BB", 0x80 | opcode, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack(">BBH", 0x80 | opcode, 126, len(payload)) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, len(payload)) + payload


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    size = second & 127
    if size == 126:
        size, = struct.unpack(">H", await reader.readexactly(2))
    elif size == 127:
        size, = struct.unpack(">Q", await reader.readexactly(8))
    if size > MESSAGE_MAX or not second & 128:
        raise BadRequest("frame too large or not masked")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return first & 128, first & 15, (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")


def go_on(headers):
    """Of a WebSocket whose messages are the same everywhere: the header of our answer, and how many messages the client has.
    What it says has no effect here, so all of it counts as processed."""
    if "suture-resume" not in headers:
        return ("Suture-Resume: 1\r\n" if "suture-session" in headers else ""), 0
    session, *rest = (part.strip() for part in headers["suture-resume"].split(";"))
    counts = dict(part.split("=", 1) for part in rest)
    return f"Suture-Resume: {session}; received={counts['received']}\r\n", int(counts["delivered"])


async def websocket(reader, writer, headers, query, counts_only):
    resume, number = go_on(headers) if counts_only else ("", 0)
    accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + WS_GUID).digest()).decode()
    writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 f"Sec-WebSocket-Accept: {accept}\r\n{resume}\r\n".encode())
    interval = int(query.get("interval", 100)) / 1000

    async def count():
        nonlocal number
        while True:
            number += 1
            writer.write(frame(1, str(number).encode()))
            await writer.drain()
            await asyncio.sleep(interval)

    counting = asyncio.create_task(count())
    try:
        message, kind = b"", 1
        while True:
            final, opcode, data = await read_frame(reader)
            if opcode == 8:
                writer.write(frame(8, data[:2]))
                return
            if opcode == 9:
                writer.write(frame(10, data))
                continue
            if opcode == 10:
                continue
            kind = opcode or kind
            message += data
            if len(message) > MESSAGE_MAX:
                raise BadRequest("message too large")
            if final:
                if not counts_only:
                    writer.write(frame(kind, message))
                message = b""
            await writer.drain()
    finally:
        counting.cancel()


async def serve(reader, writer):
    try:
        while True:
            method, target, headers = await read_head(reader)
            query = dict(urllib.parse.parse_qsl(target.query))
            if target.path in ("/ws", "/count") and "sec-websocket-key" in headers:
                await websocket(reader, writer, headers, query, target.path == "/count")
                break
            if target.path == "/upload" and method in ("PUT", "POST"):
                await upload(reader, writer, headers)
            elif target.path == "/slow":
                await slow(writer, query)
            elif target.path == "/events":
                await events(writer, query, headers)
            elif target.path == "/who":
                answer(writer, "200 OK", {"pop": POP})
            else:
                answer(writer, "404 Not Found", {"pop": POP, "error": f"nothing at {method} {target.path}"})
            await writer.drain()
            if headers.get("connection", "").lower() == "close":
                break
    except (BadRequest, ValueError, KeyError) as error:
        answer(writer, "400 Bad Request", {"pop": POP, "error": str(error)})
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]), limit=1 << 20, backlog=4096)
    async with server:
        await server.serve_forever()


asyncio.run(main())
