"""VIP4 VIP6 OWNER FILE SEED KIND=N[;KIND=N...] [4|6]: clients of many kinds at once, one process. N of each kind and family.

Prints "all are under way" once each stands where its kind wants it when its owner dies (in the middle of a body, behind half an
upload, waiting for an answer). A line "cut" on standard input: the owner is gone, go on. "finish": end well. Then one JSON list:
{"kind", "number", "family", "port", "how", "note", "stall"} per client. `how`:

  continued   the exchange went on to its end with the right bytes, and another request on the same connection was answered
  clean       503 with Retry-After and the connection's end; Close 1012 of a WebSocket; an end between two responses
  reset       an RST, and no wrong byte before it
  wrong       anything else; `note` says what. A client that is silent for SILENCE seconds is "wrong", too

`stall`: the longest wait for a byte since the cut, seconds. Paths: heal_app.py (port 9000), docker/apps (80), an echo (9100)."""
import asyncio
import json
import os
import random
import re
import socket
import struct
import sys
import time

VIPS = {4: sys.argv[1], 6: sys.argv[2]}
OWNER = sys.argv[3]
FILE = open(sys.argv[4], "rb").read()
SEED = sys.argv[5]
PERIOD = bytes(i * 131 % 251 for i in range(251))
SILENCE = 15
LONG, RATE = 600_000, 8_000  # of what the owner's application sends; another's sends as fast as it can


def pattern(size):
    return (PERIOD * (size // 251 + 1))[:size]


def noise(size):
    """heal_app.py's."""
    return random.Random(size).randbytes(size)


class Ended(Exception):
    """The connection is over: "eof" or "reset"."""


class Clean(Exception):
    """A 503 and its end, or Close 1012."""


class Wrong(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Wrong(str(what()) if callable(what) else what)


class Signals:
    def __init__(self):
        self.cut, self.finish, self.cut_at = asyncio.Event(), asyncio.Event(), None
        self.beginning = asyncio.Semaphore(12)  # so many begin at once

    async def listen(self):
        loop = asyncio.get_running_loop()
        for event in (self.cut, self.finish):
            await loop.run_in_executor(None, sys.stdin.readline)
            if event is self.cut:
                self.cut_at = time.monotonic()
            event.set()


class Client:
    """One connection. A kind has begin(), up to the place where its owner dies, and rest()."""
    port, rcvbuf, again = 9000, None, "/say?id=on"
    until_close = False  # nothing can follow the exchange
    impatient = False  # the owner does not wait for ever for the rest: begins last
    piece = 65536  # at most so much is read at once

    def __init__(self, number, family, signals):
        self.number, self.family, self.signals = number, family, signals
        self.id = re.sub(r"\W+", "-", f"{SEED}-{self.kind}-{number}-{family}")
        self.held, self.stall, self.last_one, self.over = b"", 0.0, False, False
        self.started = asyncio.Event()
        self.how, self.note, self.local = "wrong", "not connected", 0

    async def run(self):
        try:
            self.loop = asyncio.get_running_loop()
            self.socket = socket.socket(socket.AF_INET if self.family == 4 else socket.AF_INET6)
            if self.rcvbuf:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
            self.socket.setblocking(False)
            self.socket.bind(("", 0))  # a port that no connection to another port of the VIP has
            async with self.signals.beginning:
                await asyncio.wait_for(self.loop.sock_connect(self.socket, (VIPS[self.family], self.port)), SILENCE)
                self.local = self.socket.getsockname()[1]
                await self.begin()
            self.note = ""
            self.started.set()
            await self.until_cut()
            await self.rest()
            if not self.until_close:
                await self.ask_again()
            await self.signals.finish.wait()
            await self.goodbye()
            expect(not self.held, lambda: f"bytes of no response: {self.held[:100]!r}")
            self.how = "continued"
        except Clean as clean:
            self.how, self.note = "clean", str(clean)
        except Ended as ended:
            expected = str(ended) == "reset" and self.started.is_set()
            self.how, self.note = ("reset", "") if expected else ("wrong", f"{ended} at {len(self.held)}")
        except Wrong as wrong:
            self.how, self.note = "wrong", str(wrong)[:300]
        except asyncio.TimeoutError:
            self.how, self.note = "wrong", "silent"
        except Exception as error:  # a broken response, or this file
            self.how, self.note = "wrong", f"{type(error).__name__} {error}"
        finally:
            self.over = True
            self.started.set()
            self.socket.close()

    async def until_cut(self):
        await self.signals.cut.wait()

    async def goodbye(self):
        pass

    # ---- bytes

    async def more(self, size=65536):
        began = time.monotonic()
        try:
            data = await asyncio.wait_for(self.loop.sock_recv(self.socket, size), SILENCE)
        except ConnectionResetError:
            raise Ended("reset") from None
        finally:
            if self.signals.cut_at:
                self.stall = max(self.stall, time.monotonic() - max(began, self.signals.cut_at))
        if not data:
            raise Ended("eof")
        return data

    async def send(self, data):
        try:
            await asyncio.wait_for(self.loop.sock_sendall(self.socket, data), SILENCE)
        except (ConnectionResetError, BrokenPipeError):
            raise Ended("reset") from None

    async def request(self, method, target, body=b"", length=None, fields=""):
        size = len(body) if length is None else length
        about = f"Content-Length: {size}\r\n" if size or method not in ("GET", "HEAD") else ""
        await self.send(f"{method} {target} HTTP/1.1\r\nHost: vip\r\n{about}{fields}\r\n".encode() + body)

    async def body(self, size):
        while len(self.held) < size:
            self.held += await self.more()
        data, self.held = self.held[:size], self.held[size:]
        return data

    async def until(self, mark):
        while mark not in self.held:
            self.held += await self.more()
        data, _, self.held = self.held.partition(mark)
        return data

    async def raw_head(self):
        if not self.held:
            try:
                self.held = await self.more()
            except Ended as ended:
                if str(ended) == "eof" and self.started.is_set():
                    raise Clean("the end, between two responses") from None
                raise
        first, *lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        parts = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", first)
        expect(parts, lambda: f"not the beginning of a response: {first!r}")
        return int(parts[1]), {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}

    async def head(self, wanted=200):
        status, fields = await self.raw_head()
        if status == 503 and "retry-after" in fields and fields.get("connection") == "close":
            await self.body(int(fields["content-length"]))
            await self.nothing_but_the_end()
            raise Clean("503")
        expect(status == wanted, lambda: f"status {status}")
        self.last_one = fields.get("connection") == "close"
        return fields

    async def nothing_but_the_end(self):
        """A FIN. An RST instead is what a client gets that was still sending: the answer was read before it."""
        try:
            self.held += await self.more()
        except Ended:
            pass
        expect(not self.held, lambda: f"bytes of no response: {self.held[:100]!r}")

    async def some(self, size):
        """What is there, at least a byte."""
        self.held = self.held or await self.more(min(size, self.piece))
        data, self.held = self.held[:size], self.held[size:]
        return data

    async def content(self, fields):
        """Of a body, part by part, whatever its framing."""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self.until(b"\r\n"), 16):
                while size:
                    data = await self.some(size)
                    size -= len(data)
                    yield data
                expect(await self.body(2) == b"\r\n", "a chunk's end")
            expect(await self.until(b"\r\n") == b"", "trailers")
        elif "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                data = await self.some(left)
                left -= len(data)
                yield data
        else:
            try:
                while True:
                    yield await self.some(65536)
            except Ended as ended:
                if str(ended) != "eof":
                    raise

    async def ask_again(self):
        if self.last_one:
            await self.nothing_but_the_end()
            raise Clean("Connection: close")
        await self.request("GET", self.again)
        fields = await self.head()
        data = await self.body(int(fields["content-length"]))
        if self.port == 80:
            expect(data == FILE[:1024], "another file")
        else:
            expect(json.loads(data)["id"] == "on", data)
            expect(fields["x-app-pop"] != OWNER, "the dead PoP's application has answered")


async def main():
    import heal_crowd_kinds
    signals, kinds = Signals(), {kind.kind: kind for kind in heal_crowd_kinds.ALL}
    families = [int(sys.argv[7])] if len(sys.argv) > 7 else [4, 6]
    wanted = [(name, int(count)) for name, count in (one.split("=") for one in sys.argv[6].split(";"))]
    clients = [kinds[name](number, family, signals) for name, count in wanted for number in range(count) for family in families]
    random.Random(SEED).shuffle(clients)
    clients.sort(key=lambda client: client.impatient)  # the sort is stable
    running = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.gather(*(client.started.wait() for client in clients))
    if over := [f"{one.id}: {one.how} {one.note}" for one in clients if one.over]:
        sys.exit(print("not under way:", *over[:20], flush=True))
    listening = asyncio.create_task(signals.listen())
    print("all are under way", flush=True)
    await asyncio.gather(*running)
    await listening
    print(json.dumps([{"kind": one.kind, "number": one.number, "family": one.family, "port": one.local, "how": one.how,
                       "note": one.note, "stall": one.stall, "id": one.id} for one in clients]), flush=True)


def frame(payload, opcode=1, final=True):
    """A client's WebSocket frame (RFC 6455 section 5.2)."""
    mask, size = os.urandom(4), len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    head += bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0x80 | 126, size)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


if __name__ == "__main__":
    sys.modules["heal_crowd"] = sys.modules["__main__"]
    asyncio.run(main())
