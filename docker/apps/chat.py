#!/usr/bin/python3
"""A WebSocket chat that any PoP's instance can go on with: chat.py POP ADDRESS:PORT REDIS_ADDRESS:PORT

  GET /?name=NAME   WebSocket. Each text that the client sends is said to all, as "COUNT POP NAME: TEXT"; COUNT has no gap.

How an application takes part in docs/websocket.md, in full: everything that a session is lies in Redis, so whichever
instance a proxy asks with Suture-Resume knows what the session has processed and what comes next for its client.

  chat:session:ID   hash: name; owner (the instance that serves it now); received (texts of the client processed);
                    first (place in chat:log of its first message)
  chat:log          list: all that was ever said. Message number i of a session is chat:log[first + i - 1]

Both scripts below run in Redis as one step each. So a text is counted and said, or neither; and an instance that another
one has replaced says nothing more, even if it still has texts of the client in its buffers.
"""
import asyncio
import contextlib
import http
import secrets
import sys
import urllib.parse

import redis.asyncio
import websockets
from websockets.legacy.server import WebSocketServerProtocol

DAY = 86400

# KEYS: session. ARGV: owner, pop, text. Returns 0 if the session is another instance's by now.
SAY = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local count = redis.call('LLEN', 'chat:log') + 1
redis.call('HINCRBY', KEYS[1], 'received', 1)
redis.call('RPUSH', 'chat:log', count .. ' ' .. ARGV[2] .. ' ' .. redis.call('HGET', KEYS[1], 'name') .. ': ' .. ARGV[3])
redis.call('PUBLISH', 'chat:said', count)
return count
"""

# KEYS: session. ARGV: owner, messages that the client has. Returns {received, place in chat:log of the next message}, or
# nothing if there is no such session or it was never sent so many.
TAKE_OVER = """
local first = redis.call('HGET', KEYS[1], 'first')
if not first or first + ARGV[2] > redis.call('LLEN', 'chat:log') then return nil end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
return {redis.call('HGET', KEYS[1], 'received'), first + ARGV[2]}
"""


class Chat:
    """What the sessions of this instance share."""

    def __init__(self, pop, store):
        self.pop, self.store = pop, store
        self.say, self.take_over = store.register_script(SAY), store.register_script(TAKE_OVER)
        self.said = asyncio.Condition()

    async def listen(self):
        """Wakes the sessions when somebody, anywhere, has said something."""
        while True:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                async with self.store.pubsub() as channel:
                    await channel.subscribe("chat:said")
                    async for _ in channel.listen():
                        async with self.said:
                            self.said.notify_all()
            await asyncio.sleep(0.2)


class Session(WebSocketServerProtocol):
    chat = None  # the Chat

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.owner = secrets.token_hex(8)
        self.key, self.next = "", 0
        self.answer = {"X-App-Pop": self.chat.pop}

    async def handshake(self, *args, extra_headers=None, **kwargs):
        return await super().handshake(*args, extra_headers=lambda path, headers: self.answer, **kwargs)

    async def process_request(self, path, request_headers):
        """Before the 101: a session begins, or this instance takes it over."""
        resume = request_headers.get("Suture-Resume")
        if resume is None:
            return await self.begin(path, request_headers.get("Suture-Session"))
        try:
            session, delivered = parse_resume(resume)
        except ValueError as error:
            return http.HTTPStatus.BAD_REQUEST, [], f"Suture-Resume: {error}\n".encode()
        self.key = "chat:session:" + session
        taken = await self.chat.take_over(keys=[self.key], args=[self.owner, delivered])
        if taken is None:
            return http.HTTPStatus.NOT_FOUND, [], b"no such session\n"
        self.next = int(taken[1])
        # From here on the number cannot change: nobody but this instance may process a text of the client.
        self.answer["Suture-Resume"] = f"{session}; received={int(taken[0])}"
        return None

    async def begin(self, path, session):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
        self.key = "chat:session:" + (session or secrets.token_hex(16))
        self.next = await self.chat.store.llen("chat:log")
        fields = {"name": query.get("name", "somebody"), "owner": self.owner, "received": 0, "first": self.next}
        await self.chat.store.hset(self.key, mapping=fields)
        await self.chat.store.expire(self.key, DAY)
        if session:
            self.answer["Suture-Resume"] = "1"

    async def listen(self):
        """What the client says. Ends with the connection, or when another instance serves the session."""
        async for text in self:
            if not await self.chat.say(keys=[self.key], args=[self.owner, self.chat.pop, text]):
                return

    async def speak(self):
        """What it is told: chat:log from its place on, in order."""
        while True:
            async with self.chat.said:
                if await self.chat.store.llen("chat:log") <= self.next:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self.chat.said.wait(), 1)  # at the latest, if Redis was away
            for text in await self.chat.store.lrange("chat:log", self.next, -1):
                await self.send(text.decode())
                self.next += 1


def parse_resume(value):
    """"SESSION; received=N; delivered=M": the session, and M. N is what the proxy knows; Redis knows better."""
    session, *rest = (part.strip() for part in value.split(";"))
    counts = dict(part.split("=", 1) for part in rest if "=" in part)
    if not session or "delivered" not in counts:
        raise ValueError("wanted SESSION; received=N; delivered=M")
    return session, int(counts["delivered"])


async def serve(session):
    speaking = asyncio.ensure_future(session.speak())
    try:
        await session.listen()
    except websockets.ConnectionClosed:
        pass
    finally:
        speaking.cancel()
        # Only who says goodbye is gone. A connection that merely breaks may be a proxy's death.
        if session.close_rcvd is not None:
            await session.chat.store.delete(session.key)


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def reached(store):
    """Nobody is served before Redis answers; a PoP that has just been switched on has no route to it yet."""
    while True:
        with contextlib.suppress(redis.exceptions.ConnectionError):
            return await store.ping()
        await asyncio.sleep(0.05)


async def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.splitlines()[0])
    pop, (host, port), (redis_host, redis_port) = sys.argv[1], address(sys.argv[2]), address(sys.argv[3])
    store = redis.asyncio.Redis(host=redis_host, port=redis_port)
    await reached(store)
    Session.chat = Chat(pop, store)
    listening = asyncio.ensure_future(Session.chat.listen())
    async with websockets.serve(serve, host, port, create_protocol=Session):
        await listening


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
