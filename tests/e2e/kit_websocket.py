"""Clients of WebSocket scenarios: the library's in a process of its own, a raw one, and what the chat's Redis says.

    one = Library(lab, "client1", 4, "/chat?name=ann")   tests/e2e/ws_client.py in that host; one.say(10), one.texts
    one = Raw(lab, "client1", 4, "/chat?name=bob")       frames by hand, each sent and read as the test wants
    settled(lab, [one, ...])                             the peers know these sessions as their owner does
    Store(lab).said_by("ann")                            what the chat has taken from ann: docker/apps/chat.py
"""
import os
import pathlib
import struct
import subprocess
import threading

from kit_eb import PATIENCE
from kit_heal import Talk, directory, named, names  # noqa: F401
from lab import wait_until
from labkit import topology

CLIENT = pathlib.Path(__file__).resolve().parent / "ws_client.py"
PEERS = ("pop2", "pop3")


class Library:
    def __init__(self, lab, client, family, path, deflate=True):
        self.family, self.said = family, 0
        self.opened, self.texts, self.closed = [], [], []
        url = lab.url(family, path).replace("http:", "ws:")
        self._process = lab.popen(client, ["/usr/bin/python3", CLIENT, url, "deflate" if deflate else "plain"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        threading.Thread(target=self._read, daemon=True).start()
        self.wait(lambda: self.opened, "the handshake")

    @property
    def port(self):
        return self.opened[0][0]

    def _read(self):
        for line in self._process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "open":
                port, pop, extensions = rest.split()
                self.opened.append((int(port), pop, extensions))
            else:
                {"text": self.texts, "closed": self.closed}[kind].append(rest)

    def wait(self, condition, what):
        def over():
            assert self._process.poll() is None, f"the client has ended: {self._process.stderr.read()}"
            return condition()
        return wait_until(over, PATIENCE, what=f"IPv{self.family}: {what}; closed: {self.closed}, {len(self.texts)} texts")

    def say(self, until):
        """Returns at once."""
        self.said = until
        self._process.stdin.write(f"say {until}\n")

    def close(self):
        self._process.stdin.write("close\n")
        assert self._process.wait(PATIENCE) == 0, self._process.stderr.read()


class Raw(Talk):
    def __init__(self, lab, client, family, path, rcvbuf=None):
        super().__init__(lab, client, family, port=80, rcvbuf=rcvbuf)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: vip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        status, self.answer = self.head()
        assert status == 101, (status, self.answer)

    @staticmethod
    def frame(payload, opcode=1, final=True):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([(0x80 if final else 0) | opcode])
        head += bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0x80 | 126, size) if size < 65536 \
            else struct.pack(">BQ", 0x80 | 127, size)
        return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def receive(self):
        """(opcode, payload) of the next frame, which has to be a whole message."""
        first, size = self.body(2)
        assert first & 0xF0 == 0x80 and size < 128, f"a fragment, or masked: {first:#x} {size:#x}"
        if size > 125:
            size = int.from_bytes(self.body(2 if size == 126 else 8), "big")
        return first & 15, self.body(size)

    def text(self):
        opcode, data = self.receive()
        assert opcode == 1, (opcode, data)
        return data.decode()


def settled(lab, clients, owner="pop1"):
    """Nothing is under way that no peer knows of. The clients must be silent; acknowledgements may be recorded late."""
    def views(pop):
        there = directory(lab, pop)
        return [{key: there.get(name, {}).get(key) for key in ("in_known", "out_sent")} for name in sorted(names(clients))]

    def same():
        own = views(owner)
        return all(one["in_known"] is not None for one in own) and all(views(pop) == own for pop in PEERS) and own
    return wait_until(same, PATIENCE, what="the peers know what the owner knows")


class Store:
    """The chat's Redis, asked at its own host."""

    def __init__(self, lab):
        self._lab = lab

    def _ask(self, *words):
        done = self._lab.inside("core1", ["redis-cli", "-h", topology.REDIS, *words])
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line]  # of an empty list it prints an empty line

    def log(self):
        """["COUNT POP NAME: TEXT"]: all that was ever said."""
        return self._ask("lrange", "chat:log", "0", "-1")

    def said_by(self, name):
        return [line.split(": ", 1)[1] for line in self.log() if line.split(" ", 2)[2].startswith(f"{name}: ")]

    def session_of(self, name):
        """The session's hash, or None: there is one as long as its client has not said goodbye."""
        for key in self._ask("keys", "chat:session:*"):
            fields = self._ask("hgetall", key)
            session = dict(zip(fields[::2], fields[1::2]))
            if session.get("name") == name:
                return session
        return None


def counts(texts):
    """The numbers in front of what the chat has sent."""
    return [int(text.split(" ", 1)[0]) for text in texts]
