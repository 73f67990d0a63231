"""The kinds of heal_crowd.py: what each client is in the middle of when the owner of its connection dies."""
import asyncio
import json
import zlib

from heal_crowd import FILE, LONG, OWNER, RATE, Clean, Client, Ended, expect, frame, noise, pattern

SLOW = f"n={LONG}&rate={RATE}&tick=0.5&slow={OWNER}"
ALL = []


def kind(name):
    def named(one):
        one.kind = name
        ALL.append(one)
        return one
    return named


@kind("idle")
class Idle(Client):
    """Asks again into the dead link (odd numbers), or sleeps until it has been asked (even ones)."""
    port, again = 80, "/1k"

    async def begin(self):
        await self.ask_again()

    async def rest(self):
        if self.number % 2 == 0:
            await self.signals.finish.wait()


# ---- bodies


class Body(Client):
    """A response of known content in several parts; goes on reading until the cut, each `pause` seconds."""
    target, fields, method, wanted, expected, offset, pause, first = "", "", "GET", 200, pattern(LONG), 0, 0, 4000

    async def begin(self):
        await self.request(self.method, self.target.format(id=self.id), fields=self.fields)
        self.parts, self.got = self.content(await self.head(self.wanted)), 0
        while self.got < self.first:
            await self.take()

    async def take(self):
        """False: it is over."""
        data = await anext(self.parts, b"")
        begin = self.offset + self.got
        expect(data == self.expected[begin:begin + len(data)], f"wrong bytes behind {begin}")
        self.got += len(data)
        return bool(data)

    async def until_cut(self):
        while not self.signals.cut.is_set():
            await self.take()
            try:
                await asyncio.wait_for(self.signals.cut.wait(), self.pause or 0.001)
            except asyncio.TimeoutError:
                pass

    async def rest(self):
        while await self.take():
            pass
        expect(self.got == len(self.expected) - self.offset, f"{self.got} bytes")


@kind("download")
class Download(Body):
    port, again, target, expected, rcvbuf, piece, pause = 80, "/1k", "/1m", FILE, 16384, 8192, 0.4


@kind("slow reader")
class Slow(Download):
    """Its window is closed, before the cut and for long after it."""

    async def until_cut(self):
        await self.signals.cut.wait()

    async def rest(self):
        await self.signals.finish.wait()
        await super().rest()


@kind("asked for a range")
class Ranged(Download):
    offset, wanted, fields = 100_000, 206, "Range: bytes=100000-\r\n"


@kind("length, no validator")
class Plain(Body):
    target = f"/plain?{SLOW}"


@kind("until close")
class UntilClose(Body):
    target, until_close = f"/close?{SLOW}", True


@kind("chunked")
class Chunks(Body):
    """Paced by the application (odd numbers), or by the client, whose window then ends inside a chunk."""

    target = f"/chunks?{SLOW}"

    def __init__(self, number, *more):
        super().__init__(number, *more)
        if number % 2 == 0:
            self.target, self.rcvbuf, self.piece, self.pause = f"/chunks?n={LONG}", 4096, 1500, 0.4


@kind("gzip")
class Gzip(Body):
    target, expected = f"/gzip?{SLOW}", noise(LONG)

    async def begin(self):
        self.inflated = zlib.decompressobj(16 + zlib.MAX_WBITS)
        await super().begin()

    async def take(self):
        data = b""
        while not data:  # the decompressor may want more
            part = await anext(self.parts, b"")
            data = self.inflated.decompress(part)
            if not part:
                break
        expect(data == self.expected[self.got:self.got + len(data)], f"wrong bytes behind {self.got}")
        self.got += len(data)
        return bool(data)


@kind("small POST answer")
class SmallPost(Body):
    """Half delivered: all of it is in the journal."""
    method, target, expected, rcvbuf, piece, first = "POST", "/pay?id={id}&n=60000", pattern(60_000), 4096, 1500, 3000
    until_cut = Client.until_cut


@kind("large POST answer")
class LargePost(Body):
    method, target, expected, rcvbuf, piece, first = "POST", "/pay?id={id}&n=200000", pattern(200_000), 4096, 1500, 3000
    until_cut = Client.until_cut


@kind("pipelined")
class Pipelined(Body):
    """Two more requests wait behind a long answer."""
    target = f"/file?{SLOW}"

    async def begin(self):
        wait = "".join(f"GET /say?id=p{number} HTTP/1.1\r\nHost: vip\r\n\r\n" for number in (1, 2))
        await self.send(f"GET {self.target} HTTP/1.1\r\nHost: vip\r\n\r\n{wait}".encode())
        self.parts, self.got = self.content(await self.head()), 0
        await self.take()

    async def rest(self):
        await super().rest()
        for number in (1, 2):
            fields = await self.head()
            answer = json.loads(await self.body(int(fields["content-length"])))
            expect(answer["id"] == f"p{number}", answer)


# ---- requests


class Unanswered(Client):
    method, data = "GET", b""

    async def begin(self):
        await self.request(self.method, f"/pay?id={self.id}&silent={OWNER}", self.data)

    async def rest(self):
        fields = await self.head()
        answer = json.loads(await self.body(int(fields["content-length"])))
        expect(answer["id"] == self.id and answer["pop"] != OWNER, answer)


@kind("unanswered GET")
class UnansweredGet(Unanswered):
    pass


@kind("unanswered DELETE")
class UnansweredDelete(Unanswered):
    method = "DELETE"


@kind("unanswered POST")
class UnansweredPost(Unanswered):
    method, data = "POST", b"ten bytes!"


class Half(Unanswered):
    size, impatient = 40_000, True

    async def begin(self):
        await self.request(self.method, f"/pay?id={self.id}", pattern(self.size)[:self.size // 2], self.size)

    async def rest(self):
        await self.send(pattern(self.size)[self.size // 2:])
        await super().rest()


@kind("half a PUT")
class HalfPut(Half):
    method = "PUT"


@kind("half a large PUT")
class HalfLargePut(Half):
    method, size = "PUT", 200_000


@kind("half a POST")
class HalfPost(Half):
    method = "POST"


class Row(Client):
    """One small request after the other: the cut comes anywhere."""

    async def one(self, number):
        await self.request(self.method, f"/pay?id={self.id}-{number}", b"ten bytes!" if self.method == "POST" else b"")
        fields = await self.head()
        answer = json.loads(await self.body(int(fields["content-length"])))
        expect(answer["id"] == f"{self.id}-{number}", answer)
        self.answered = number

    async def begin(self):
        await self.one(0)

    async def until_cut(self):
        number = 0
        while not self.signals.cut.is_set():
            number += 1
            await self.one(number)
            try:
                await asyncio.wait_for(self.signals.cut.wait(), 0.5)
            except asyncio.TimeoutError:
                pass

    async def rest(self):
        if not self.last_one:
            await self.one(self.answered + 1)


@kind("GETs in a row")
class Gets(Row):
    method = "GET"


@kind("POSTs in a row")
class Posts(Row):
    method = "POST"


# ---- streams


@kind("SSE with ids")
class Events(Client):
    until_close, form, query = True, "id: {0}\ndata: number {0}", "pause=0.25"

    async def begin(self):
        await self.request("GET", f"/events?{self.query}")
        self.parts, self.text, self.count = self.content(await self.head()), b"", 0
        await self.event()

    async def event(self):
        while b"\n\n" not in self.text:
            self.text += await anext(self.parts)
        event, _, self.text = self.text.partition(b"\n\n")
        self.count += 1
        expect(event == self.form.format(self.count).encode(), f"event {self.count}: {event!r}")

    async def until_cut(self):
        while not self.signals.cut.is_set():
            await self.event()

    async def rest(self):
        for _ in range(5):
            await self.event()

    async def goodbye(self):
        self.held = b""  # it goes on for ever


@kind("SSE without ids")
class BareEvents(Events):
    form, query = "data: number {0}", "pause=0.25&ids=no"


class Socket(Client):
    port, until_close = 80, True

    async def begin(self):
        await self.send(f"GET {self.target.format(id=self.id)} HTTP/1.1\r\nHost: vip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        await self.head(101)

    async def text(self):
        """The next message; answers a Close and the Pings of an application that has heard nothing for a while."""
        while True:
            first, size = await self.body(2)
            expect(first & 0xF0 == 0x80 and size < 128, f"a fragment, or masked: {first:#x} {size:#x}")
            if size > 125:
                size = int.from_bytes(await self.body(2 if size == 126 else 8), "big")
            data, opcode = await self.body(size), first & 15
            if opcode == 8:
                await self.closed(data)
            if opcode == 9:
                await self.send(frame(data, 10))
            else:
                expect(opcode == 1, f"opcode {opcode}")
                return data.decode()

    async def closed(self, data):
        expect(data == b"\x03\xf4", f"Close {data!r}")
        try:
            await self.send(frame(data, 8))
        except Ended:
            pass
        await self.nothing_but_the_end()
        raise Clean("1012")


@kind("WebSocket")
class Counted(Socket):
    """Of an application that has not opted in."""
    target = "/ws?interval=800"

    async def begin(self):
        await super().begin()
        self.count = 0
        await self.hear()

    async def hear(self):
        self.count += 1
        text = await self.text()
        expect(text == str(self.count), f"{text!r} instead of {self.count}")

    async def until_cut(self):
        while not self.signals.cut.is_set():
            await self.hear()

    async def rest(self):
        while True:
            await self.hear()


@kind("WebSocket, opted in")
class Chat(Socket):
    """What is said to all comes once and in order, and so do the words of this one."""
    target = "/chat?name={id}"

    async def begin(self):
        await super().begin()
        self.place, self.own = None, 0
        await self.say(3)

    async def say(self, count):
        begin = self.own
        for number in range(begin + 1, begin + count + 1):
            await self.send(frame(str(number).encode()))
        while self.own < begin + count:
            await self.hear()

    async def hear(self):
        place, _, who, what = (await self.text()).split(" ", 3)
        expect(self.place in (None, int(place) - 1), f"{place} behind {self.place}")
        self.place = int(place)
        if who == f"{self.id}:":
            self.own += 1
            expect(what == str(self.own), f"own word {what} instead of {self.own}")

    async def rest(self):
        await self.say(3)

    async def goodbye(self):
        await self.send(frame(b"\x03\xe8", 8))
        try:
            while True:
                await self.hear()
        except Leaving:
            pass

    async def closed(self, data):
        if data == b"\x03\xe8":
            raise Leaving
        await super().closed(data)


class Leaving(Exception):
    pass


@kind("mode tcp")
class Echo(Client):
    port, until_close = 9100, True

    async def begin(self):
        await self.rest()

    async def rest(self):
        await self.send(pattern(1000))
        expect(await self.body(1000) == pattern(1000), "wrong bytes")
