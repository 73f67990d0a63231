"""The demo's sessions: unmodified clients in client1's network, each in a thread that checks every byte it gets.

A session runs until `finish` is set (the tour is over), then ends in its own good way. Downloads and uploads are paced to last as
long as the tour. `stall` is the longest time in which the session got nothing although it should have, in seconds.
"""
import base64
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

from . import apps, files, suture, topology

READ_TIMEOUT = 20  # a session that hears nothing for so long is lost


class Broken(Exception):
    """What the client saw instead of what it should have."""


class Session(threading.Thread):
    kind = ""
    note = ""              # behind the label
    told = ""              # what it says of itself in the end, behind the outcome
    clean_end = None       # what the client was told when it ended as it should, but before its time
    receive_buffer = None  # bytes; None: the kernel's choice

    def __init__(self, state, client, family, seconds, finish):
        super().__init__(daemon=True)
        self.state, self.client, self.family = state, client, family
        self.seconds, self.finish = seconds, finish
        self.started = threading.Event()
        self.pop, self.port, self.bytes, self.wrong = None, None, 0, 0
        self.stall, self.error, self.ended = 0.0, None, False
        self._last = None
        self._process = None

    @property
    def vip(self):
        return topology.VIP4 if self.family == 4 else topology.VIP6

    @property
    def url(self):
        return f"http://{self.vip}" if self.family == 4 else f"http://[{self.vip}]"

    @property
    def label(self):
        return f"{self.kind} IPv{self.family}{self.note}"

    def heard(self, expected_gap=0.0):
        """Something came; the time since the last, less what the pace explains, may be the longest stall."""
        now = time.monotonic()
        if self._last is not None:
            self.stall = max(self.stall, now - self._last - expected_gap)
        self._last = now

    @property
    def last_heard(self):
        return self._last or 0.0

    def run(self):
        try:
            self.talk()
        except (Broken, OSError, ValueError, subprocess.SubprocessError) as error:
            self.error = self.error or str(error) or type(error).__name__
        finally:
            self.ended = True
            self.started.set()
            self.abort()

    def abort(self):
        if self._process and self._process.poll() is None:
            self._process.kill()

    def open_process(self, argv, **streams):
        self._process = subprocess.Popen(self.state.engine.enter(self.client) + argv, **streams)
        return self._process

    def connect(self, port):
        connection = suture.socket_in(self.state.engine.network(self.client),
                                      socket.AF_INET if self.family == 4 else socket.AF_INET6)
        connection.settimeout(READ_TIMEOUT)
        if self.receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        connection.connect((self.vip, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = connection.getsockname()[1]
        return connection

    @property
    def good(self):
        return self.ended and self.error is None and self.wrong == 0


class _Curl(Session):
    def curl(self, *words, **streams):
        directory = self.state.host_dir("demo")
        self._head = directory / f"{re.sub(r'[^A-Za-z0-9]+', '-', self.label)}.head"
        self._head.unlink(missing_ok=True)
        return self.open_process(["curl", "-sS", "-g", "-N", "-D", str(self._head), "-w", "%{stderr}port=%{local_port}\n", *words],
                                 stderr=subprocess.PIPE, **streams)

    def learn(self):
        if self.pop is None and self._head.exists():
            found = re.search(r"^x-app-pop: (\S+)", self._head.read_text(), re.I | re.M)
            self.pop = found[1] if found else None

    def end(self, process):
        said = process.stderr.read().decode()
        port = re.search(r"port=(\d+)", said)
        self.port = int(port[1]) if port else None
        if process.wait(READ_TIMEOUT) != 0:
            raise Broken(re.sub(r"port=\d+\s*", "", said).strip() or f"curl ended with {process.returncode}")
        self.learn()
        status = re.findall(r"^HTTP/\S+ (\d+)", self._head.read_text(), re.M)
        if status[-1:] != ["200"]:
            raise Broken(f"status {status[-1] if status else 'missing'}")


class _Download(_Curl):
    pace = 0.0  # seconds between two portions that are no stall; None: the capture tells (demo_capture)

    def receive(self, process, expected):
        """Compares with `expected` (an iterator of chunks) as the bytes come."""
        digest, wanted = hashlib.sha256(), hashlib.sha256()
        ahead = memoryview(b"")
        while True:
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            if self.pace is not None:
                self.heard(self.pace)
            self.started.set()
            self.bytes += len(data)
            digest.update(data)
            here = memoryview(data)
            while here:
                if not ahead:
                    ahead = memoryview(next(expected, b""))
                    if not ahead:
                        self.wrong += len(here)
                        break
                size = min(len(here), len(ahead))
                if here[:size] != ahead[:size]:
                    self.wrong += sum(a != b for a, b in zip(here[:size], ahead[:size]))
                wanted.update(ahead[:size])
                here, ahead = here[size:], ahead[size:]
            self.learn()
        self.end(process)
        if ahead or next(expected, b""):
            raise Broken(f"ended after {self.bytes} bytes")
        if digest.digest() != wanted.digest():
            self.wrong = max(1, self.wrong)


class FileDownload(_Download):
    kind = "download"
    pace = None  # curl --limit-rate reads seconds' worth at a time: its stall is the wait for data while its window is open

    def talk(self):
        size = files.SIZES["100m"]
        rate = size / self.seconds
        process = self.curl("--limit-rate", str(int(rate)), f"{self.url}/100m", stdout=subprocess.PIPE)
        self.receive(process, iter(files.parts(size)))


class SlowDownload(_Download):
    kind = "slow answer"
    pace = 0.02  # the application's own pace

    def talk(self):
        rate = 400000
        size = int(rate * self.seconds)
        process = self.curl(f"{self.url}/slow?bytes={size}&rate={rate}", stdout=subprocess.PIPE)
        self.receive(process, self._pattern(size))

    @staticmethod
    def _pattern(size):
        period = bytes(i * 131 % 251 for i in range(251)) * 256
        for start in range(0, size, len(period)):
            yield period[:min(len(period), size - start)]


class Upload(_Curl):
    """Fed every 20 ms; its stall is the longest wait for an acknowledgement, which the capture tells (demo_capture)."""
    kind = "upload"

    def talk(self):
        process = self.curl("-T", "-", "-H", "Expect:", f"{self.url}/upload", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        digest = hashlib.sha256()
        try:
            self._feed(process, digest)
        except BrokenPipeError:
            self.end(process)  # curl says why it stopped reading
            raise
        body = process.stdout.read()
        self.end(process)
        answer = json.loads(body)
        self.pop = answer["pop"]
        if answer["bytes"] != self.bytes:
            raise Broken(f"{answer['bytes']} of {self.bytes} bytes arrived")
        if answer["sha256"] != digest.hexdigest():
            self.wrong = self.bytes

    def _feed(self, process, digest):
        rate, start = 2000000, time.monotonic()
        content = files.parts(files.SIZES["1g"])
        part = memoryview(b"")
        while (elapsed := time.monotonic() - start) < self.seconds and process.poll() is None:
            due = int(elapsed * rate) - self.bytes
            while due > 0:
                part = part or memoryview(next(content))
                piece, part = part[:due], part[due:]
                process.stdin.write(piece)
                digest.update(piece)
                self.bytes += len(piece)
                due -= len(piece)
            process.stdin.flush()
            self.started.set()
            time.sleep(0.02)
        process.stdin.close()


class Ssh(Session):
    kind = "ssh"

    def talk(self):
        remote = 'stty -echo; echo "ready $SUTURE_POP"; while read -r n; do [ "$n" = end ] && exit 0; echo "line $n"; done'
        process = self.open_process(["ssh", "-tt", "-F", str(apps.ssh_dir(self.state) / "config"), f"root@{self.vip}", remote],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.readline().decode()
        if not first.startswith("ready "):
            raise Broken(f"ssh: {process.stderr.read().decode().strip() or first!r}")
        self.pop = first.split()[1]
        self.started.set()
        number = 0
        while not self.finish.is_set():
            number += 1
            self._last = time.monotonic()
            process.stdin.write(f"{number}\n".encode())
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise Broken(f"ssh: {process.stderr.read().decode().strip() or 'ended'}")
            self.heard()
            self.bytes += len(line)
            if line.rstrip() != f"line {number}".encode():
                self.wrong += len(line)
            time.sleep(0.05)
        process.stdin.write(b"end\n")
        process.stdin.close()
        if process.wait(READ_TIMEOUT) != 0:
            raise Broken(f"ssh ended with {process.returncode}: {process.stderr.read().decode().strip()}")


class _Http(Session):
    """Keeps one connection and never opens a second."""

    def request(self, stream, path, extra="", method="GET"):
        host = self.vip if self.family == 4 else f"[{self.vip}]"
        stream.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: suture-lab\r\n{extra}\r\n".encode())
        stream.flush()
        status = stream.readline().decode("latin-1")
        headers = {}
        while (line := stream.readline().decode("latin-1").strip()):
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        if not status:
            raise Broken("the connection was closed")
        self.pop = self.pop or headers.get("x-app-pop")
        return int(status.split()[1]), headers


class KeepAlive(_Http):
    kind = "idle keep-alive"

    def talk(self):
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            self._get(stream)
            self.started.set()
            self.finish.wait()
            self._last = time.monotonic()
            self._get(stream)
            self.heard()

    def _get(self, stream):
        status, headers = self.request(stream, "/1k")
        if status != 200:
            raise Broken(f"status {status}")
        body = stream.read(int(headers["content-length"]))
        self.bytes += len(body)
        expected = b"".join(files.parts(files.SIZES["1k"]))
        if body != expected:
            self.wrong += max(1, sum(a != b for a, b in zip(body, expected)))


class WebSocket(_Http):
    kind = "websocket"
    interval = 0.05

    def talk(self):
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            key = base64.b64encode(os.urandom(16)).decode()
            status, _ = self.request(stream, f"/ws?interval={int(self.interval * 1000)}",
                                     "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                     f"Sec-WebSocket-Key: {key}\r\n")
            if status != 101:
                raise Broken(f"status {status}")
            self.started.set()
            count, said, echoed, closing = 0, 0, 0, False
            while True:
                opcode, data = self._frame(stream)
                self.bytes += len(data)
                if opcode == 8:
                    if not closing:
                        raise Broken(f"closed by the server: {data!r}")
                    break
                if data.startswith(b"echo "):
                    echoed += 1
                    self.wrong += 0 if data == b"echo %d" % echoed else len(data)
                    continue
                self.heard(self.interval)
                count += 1
                if data != str(count).encode():
                    self.wrong += len(data)
                    raise Broken(f"counted {data!r} after {count - 1}")
                if not closing and count % 10 == 0:
                    said += 1
                    self._send(stream, 1, b"echo %d" % said)
                if not closing and self.finish.is_set() and said == echoed:
                    closing = True
                    self._send(stream, 8, struct.pack(">H", 1000))

    @staticmethod
    def _frame(stream):
        head = stream.read(2)
        if len(head) < 2:
            raise Broken("the connection was closed")
        size = head[1] & 127
        if size == 126:
            size, = struct.unpack(">H", stream.read(2))
        data = stream.read(size)
        if len(data) < size:
            raise Broken("the connection was closed")
        return head[0] & 15, data

    @staticmethod
    def _send(stream, opcode, data):
        mask = os.urandom(4)
        stream.write(bytes([0x80 | opcode, 0x80 | len(data)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        stream.flush()


KINDS = [FileDownload, SlowDownload, Upload, Ssh, WebSocket, KeepAlive, KeepAlive]


def make(state, client, seconds, finish):
    return [kind(state, client, family, seconds, finish) for family in (4, 6) for kind in KINDS]
