"""VIP4 VIP6 N FILE [KIND,...]: N clients at once, of these kinds (all five if none is named) and two families. Says "all are under way" once each has had its first
answer, goes on until a line comes on standard input, ends every session in its own good way, and prints a JSON summary."""
import asyncio
import hashlib
import json
import os
import socket
import sys
import time

VIPS = sys.argv[1:3]
COUNT = int(sys.argv[3])
FILE = open(sys.argv[4], "rb").read()
FILE_SUM = hashlib.sha256(FILE).digest()
PERIOD = bytes(i * 131 % 251 for i in range(251))
READ_TIMEOUT = 30


class Lost(Exception):
    pass


class Client:
    kind, port = "", 80

    def __init__(self, number, finish):
        self.number, self.finish = number, finish
        self.vip = VIPS[number % 2]
        self.label = f"{self.kind} {number} to {self.vip}"
        self.started = asyncio.Event()
        self.bytes, self.stall = 0, 0.0

    async def connect(self):
        return await asyncio.open_connection(self.vip, self.port)

    async def run(self):
        """None, or what went wrong."""
        try:
            self.reader, self.writer = await asyncio.wait_for(self.connect(), READ_TIMEOUT)
            await self.talk()
            self.writer.close()
            return None
        except (Lost, OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            return f"{self.label}: {type(error).__name__} {error}"
        finally:
            self.started.set()

    async def wait(self, seconds):
        try:
            await asyncio.wait_for(self.finish.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def take(self, size):
        data = await asyncio.wait_for(self.reader.readexactly(size), READ_TIMEOUT)
        self.bytes += size
        return data

    async def timed(self, answer):
        begin = time.monotonic()
        value = await answer
        self.stall = max(self.stall, time.monotonic() - begin)
        self.started.set()
        return value

    def send(self, method, path, body=b"", length=None):
        host = self.vip if "." in self.vip else f"[{self.vip}]"
        size = f"Content-Length: {len(body) if length is None else length}\r\n" if body or length else ""
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{size}\r\n".encode() + body)

    async def head(self, wanted="200"):
        lines = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), READ_TIMEOUT)).decode("latin-1").split("\r\n")
        if lines[0].split()[1] != wanted:
            raise Lost(lines[0])
        return {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:] if line)}

    async def body(self):
        return await self.take(int((await self.head())["content-length"]))


class KeepAlive(Client):
    """Small requests on one connection, with idle time between."""
    kind = "keep-alive"

    async def talk(self):
        last = False
        while not last:
            last = self.finish.is_set()
            self.send("GET", "/1k")
            if await self.timed(self.body()) != FILE[:1024]:
                raise Lost("wrong bytes")
            await self.wait(0.3)


class Idle(Client):
    """One request, silence until the end, one request more on the same connection."""
    kind = "idle"

    async def talk(self):
        for _ in range(2):
            self.send("GET", "/1k")
            if await self.timed(self.body()) != FILE[:1024]:
                raise Lost("wrong bytes")
            await self.finish.wait()


class Download(Client):
    """Whole files, read slowly so that each is under way for long."""
    kind, piece, files = "download", 65536, 1 << 30

    async def talk(self):
        last = False
        while not last and self.files:
            self.files -= 1
            last = self.finish.is_set()
            self.send("GET", "/1m")
            left = int((await self.timed(self.head()))["content-length"])
            digest = hashlib.sha256()
            while left:
                part = await self.timed(self.take(min(left, self.piece)))
                digest.update(part)
                left -= len(part)
                if not self.finish.is_set():
                    await asyncio.sleep(0.1)
            if digest.digest() != FILE_SUM:
                raise Lost("wrong bytes")
        await self.finish.wait()


class Trickle(Download):
    """One file through a window of a few segments: at any moment most of it has not left the server. A request that is sent
    while its owner dies may be lost with it (docs/healing.md, lost_bytes): other tests' business."""
    kind, piece, files = "trickle", 8192, 1

    async def connect(self):
        sock = socket.socket(socket.AF_INET if "." in self.vip else socket.AF_INET6)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (self.vip, self.port))
        return await asyncio.open_connection(sock=sock, limit=16384)


class Upload(Client):
    kind = "upload"

    async def talk(self):
        last = False
        while not last:
            last = self.finish.is_set()
            part = os.urandom(4000)
            digest, parts = hashlib.sha256(), 25
            self.send("PUT", "/upload", length=parts * len(part))
            for _ in range(parts):
                self.writer.write(part)
                await self.writer.drain()
                digest.update(part)
                self.started.set()
                if not self.finish.is_set():
                    await asyncio.sleep(0.05)
            answer = json.loads(await self.timed(self.body()))
            if (answer["bytes"], answer["sha256"]) != (parts * len(part), digest.hexdigest()):
                raise Lost(f"the server got something else: {answer}")
            self.bytes += answer["bytes"]


class WebSocket(Client):
    kind = "websocket"

    async def talk(self):
        host = self.vip if "." in self.vip else f"[{self.vip}]"
        self.writer.write(f"GET /ws?interval=100 HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        await self.head("101")
        count, closing = 0, False
        while True:
            opcode, size = await self.timed(self.take(2))
            data = await self.take(size & 127)
            if opcode & 15 == 8:
                if not closing:
                    raise Lost(f"closed by the server {data!r}")
                return
            count += 1
            if data != str(count).encode():
                raise Lost(f"{data!r} after {count - 1}")
            if self.finish.is_set() and not closing:
                closing = True
                self.writer.write(b"\x88\x82\0\0\0\0\x03\xe8")


class Echo(Client):
    kind, port = "echo", 9100

    async def talk(self):
        last = False
        while not last:
            last = self.finish.is_set()
            sent = os.urandom(1000)
            self.writer.write(sent)
            if await self.timed(self.take(len(sent))) != sent:
                raise Lost("wrong bytes")
            await self.wait(0.1)
        self.writer.write_eof()
        if await asyncio.wait_for(self.reader.read(1), READ_TIMEOUT):
            raise Lost("more than was sent")


async def main():
    finish = asyncio.Event()
    kinds = [KeepAlive, Download, Upload, WebSocket, Echo]
    if len(sys.argv) > 5:
        kinds = [kind for kind in [*kinds, Idle, Trickle] if kind.kind in sys.argv[5].split(",")]
    clients = [kinds[number // 2 % len(kinds)](number, finish) for number in range(COUNT)]
    running = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.gather(*(client.started.wait() for client in clients))
    for client in clients:
        client.stall = 0.0  # what counts is what comes now
    print("all are under way", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    finish.set()
    lost = [error for error in await asyncio.gather(*running) if error]
    stalls = {kind.kind: max(one.stall for one in clients if type(one) is kind) for kind in kinds}
    every = {kind.kind: sorted(one.stall for one in clients if type(one) is kind) for kind in kinds}
    print(json.dumps({"sessions": len(clients), "good": len(clients) - len(lost), "lost": lost[:20],
                      "bytes": sum(one.bytes for one in clients), "stalls": stalls, "every": every}), flush=True)


asyncio.run(main())
