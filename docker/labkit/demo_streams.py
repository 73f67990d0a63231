"""The demo's sessions that never end by themselves: an event stream and a chat. Both count, and neither may have a gap.

What happens to a byte within 2 ms of its PoP's death is in nobody's record (docs/healing.md: cursor_beyond, lost_bytes), so the
demo's power goes between two words; and the clients go on speaking into the dead link.
"""
import base64
import os
import struct
import threading
import time
import uuid

from .demo_sessions import READ_TIMEOUT, Broken, WebSocket, _Http
from .system import wait_until

INTERVAL = 0.2        # of words and of events, seconds
QUIET = (0.02, 0.15)  # how long ago every one of these sessions must have heard something when the power goes


class EventStream(_Http):
    kind = "event stream"
    interval = INTERVAL

    def talk(self):
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            status, headers = self.request(stream, f"/events?interval={int(self.interval * 1000)}", "Accept: text/event-stream\r\n")
            if status != 200 or headers.get("content-type") != "text/event-stream":
                raise Broken(f"status {status}, {headers}")
            data, number = b"", 0
            while not self.finish.is_set():
                data += self._chunk(stream)
                self.heard(self.interval)
                while b"\n\n" in data:
                    event, _, data = data.partition(b"\n\n")
                    number += 1
                    if event != f"id: {number}\ndata: number {number}".encode():
                        self.wrong += len(event)
                        raise Broken(f"{event!r} after event {number - 1}")
                    self.bytes += len(event) + 2
                    self.started.set()
            self.told = f"{number} events, no gap"

    @staticmethod
    def _chunk(stream):
        line = stream.readline()
        if not line:
            raise Broken("the connection was closed")
        size = int(line, 16)
        data = stream.read(size + 2)
        if size == 0 or len(data) < size + 2:
            raise Broken("the stream ended")
        return data[:-2]


class Chat(WebSocket):
    """Says "1", "2", "3" ...; what the chat tells to all is "COUNT POP NAME: TEXT" (docker/apps/chat.py)."""
    kind = "websocket chat"
    interval = INTERVAL

    def talk(self):
        self._name, self._told, self._closing = f"demo-{uuid.uuid4().hex[:8]}", 0, False
        self._writing = threading.Lock()
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            key = base64.b64encode(os.urandom(16)).decode()
            status, _ = self.request(stream, f"/chat?name={self._name}",
                                     "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                     f"Sec-WebSocket-Key: {key}\r\n")
            if status != 101:
                raise Broken(f"status {status}")
            speaking = threading.Thread(target=self._speak, args=(stream,), daemon=True)
            speaking.start()
            count = None
            while (frame := self._frame(stream))[0] != 8:
                if frame[0] == 9:
                    self._say(stream, 10, frame[1])
                if frame[0] == 1:
                    count = self._check(frame[1].decode(), count)
            if not self._closing:
                raise Broken(f"closed by the server: {frame[1]!r}")
            speaking.join(READ_TIMEOUT)

    def _speak(self, stream):
        """All at the same times, so that there are times when nobody speaks."""
        said = 0
        try:
            while not self.finish.is_set():
                said += 1
                self._say(stream, 1, str(said).encode())
                self.finish.wait(self.interval - time.monotonic() % self.interval)
            if not wait_until(lambda: self._told == said or self.ended, READ_TIMEOUT / 2, 0.01):
                self.error = f"{said} words said, {self._told} came back"
            self._closing = True
            self.told = f"{said} words said and counted, no gap"
            self._say(stream, 8, struct.pack(">H", 1000))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed, and talk() says why
            self.error = self.error or str(error)

    def _say(self, stream, opcode, data):
        with self._writing:
            self._send(stream, opcode, data)

    def _check(self, text, before):
        """The chat's count has no gap, and each of our own words comes once and in order."""
        self.heard(self.interval)
        self.started.set()
        self.bytes += len(text)
        count, _, said = text.split(" ", 2)
        name, _, word = said.partition(": ")
        if before is not None and int(count) != before + 1:
            self.wrong += len(text)
            raise Broken(f"{text!r} after {before}")
        if name == self._name:
            self._told += 1
            if word != str(self._told):
                self.wrong += len(text)
                raise Broken(f"{text!r} for our {self._told}")
        return int(count)


KINDS = [EventStream, Chat]


def wait_quiet(sessions):
    """Until none of them has had a byte just now, nor is about to; not for ever."""
    def quiet():
        now = time.monotonic()
        return all(QUIET[0] < now - one.last_heard < QUIET[1] for one in sessions if isinstance(one, tuple(KINDS)))
    return wait_until(quiet, 10, 0.005)
