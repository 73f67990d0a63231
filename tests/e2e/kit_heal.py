"""Scenarios of healing: an application that keeps a ledger, clients that check every byte, power cuts without a delay.

    apps_of(lab)                               heal_app.py at every PoP that has power, VIP:9000
    talk = Talk(lab, "client1", 4)             one connection; talk.get("/say?id=1"), talk.send(...), talk.response()
    cut_power(lab, "pop1")                     in this process, at once: links, then processes
    with Nudges(lab, "client1") as nudges:     probes and fences as they arrive; nudges.wait(3)
    healed(lab, since)                         the heals' stories in the PoPs' logs
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import threading
import time

from kit_eb import PATIENCE
from lab import VIP, wait_until
from labkit import apps, demo_capture, lifecycle, netns, procs, suture, topology, wire

APP = pathlib.Path(__file__).resolve().parent / "heal_app.py"
APP_PORT, PORT = 9001, 9000
FAMILIES = [4, 6]
VIPS = (socket.inet_aton(topology.VIP4), socket.inet_pton(socket.AF_INET6, topology.VIP6))
PERIOD = bytes(i * 131 % 251 for i in range(251))


def pattern(size):
    return (PERIOD * (size // 251 + 1))[:size]


# ---- the application

def _ledger(lab):
    return lab.state.host_dir("captures") / "ledger"


def apps_of(lab):
    """One per PoP that has power. The ledger goes on over all of them."""
    running = [pop["name"] for pop in lab.status()["pops"] if pop["running"]]
    for pop in running:
        if not apps.listening(lab.state, pop, APP_PORT):
            procs.spawn(lab.state, pop, "heal", ["/usr/bin/python3", APP, pop, _ledger(lab)])
    for pop in running:
        wait_until(lambda name=pop: apps.listening(lab.state, name, APP_PORT), PATIENCE, what="the application of ours")


def ledger(lab, id):
    """[(pop, method, bytes of the body)] of every execution of requests with that id."""
    found = []
    for line in _ledger(lab).read_text().splitlines():
        words = line.split()
        assert words[1] not in ("GARBAGE", "PARTIAL"), f"no request of any client reached the application: {line}"
        if re.search(rf"[?&]id={re.escape(str(id))}(&|$)", words[2]):
            found.append((words[0], words[1], int(words[3])))
    return found


# ---- clients

class Ended(Exception):
    """The connection is over: `how` is "eof" or "reset"."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how


class Talk:
    """One HTTP connection; what comes is parsed strictly, so a byte that nobody meant is an error."""

    def __init__(self, lab, client, family, port=PORT, rcvbuf=None, source=None, from_port=0):
        self.family = family
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self.socket = suture.socket_in(netns.path(lab.state, client), kind)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source or from_port:
            self.socket.bind((source or "", from_port))
        self.socket.settimeout(PATIENCE)
        self.socket.connect((VIP[family], port))
        self.port = self.socket.getsockname()[1]
        self._held = b""

    def send(self, method, target, body=b"", length=None):
        size = len(body) if length is None else length
        about = f"Content-Length: {size}\r\n" if size or method not in ("GET", "HEAD") else ""
        try:
            self.socket.sendall(f"{method} {target} HTTP/1.1\r\nHost: vip\r\n{about}\r\n".encode() + body)
        except (ConnectionResetError, BrokenPipeError):
            raise Ended("reset") from None

    def unacknowledged(self):
        """Bytes that the client's TCP still holds (SIOCOUTQ, tcp(7))."""
        import fcntl
        return struct.unpack("i", fcntl.ioctl(self.socket, 0x5411, b"\0" * 4))[0]

    def more(self, size=65536):
        try:
            data = self.socket.recv(size)
        except ConnectionResetError:
            raise Ended("reset") from None
        except TimeoutError:
            raise AssertionError(f"IPv{self.family} port {self.port}: silent for {PATIENCE} s") from None
        if not data:
            raise Ended("eof")
        return data

    def head(self):
        """(status, headers); raises Ended."""
        while b"\r\n\r\n" not in self._held:
            self._held += self.more()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", first)
        assert parts, f"not the beginning of a response: {head[:200]!r}"
        return int(parts[1]), {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def body(self, size):
        """Exactly that many bytes."""
        while len(self._held) < size:
            self._held += self.more()
        data, self._held = self._held[:size], self._held[size:]
        return data

    def some(self):
        """What is there of a body, at least a byte."""
        data, self._held = self._held or self.more(), b""
        return data

    def response(self):
        """(status, PoP, body); raises Ended."""
        status, headers = self.head()
        return status, headers.get("x-app-pop"), self.body(int(headers["content-length"]))

    def get(self, target):
        self.send("GET", target)
        return self.response()

    def nothing_more(self):
        """No byte has come that belongs to no response."""
        assert not self._held, f"bytes of no response: {self._held[:100]!r}"
        self.socket.setblocking(False)
        try:
            data = self.socket.recv(1000)
            assert not data, f"bytes of no response: {data[:100]!r}"
        except (BlockingIOError, ConnectionResetError):
            pass
        finally:
            self.socket.settimeout(PATIENCE)

    def end(self):
        """"eof" or "reset", and no byte before it."""
        try:
            data = self.more()
        except Ended as ended:
            return ended.how
        raise AssertionError(f"bytes of no response: {data[:100]!r}")

    def close(self):
        self.nothing_more()
        self.socket.close()


def said(pop, id):
    return 200, pop, json.dumps({"pop": pop, "id": str(id)}).encode()


def two_of_each(lab, client="client1", count=1, **more):
    """`count` connections of each family that have had an answer."""
    talks = [Talk(lab, client, family, **more) for family in FAMILIES for _ in range(count)]
    for talk in talks:
        status, _, _ = talk.get("/say?id=hello")
        assert status == 200
    return talks


# ---- deaths

def unplug(lab, pop):
    """The PoP's cables, and nothing else. A few milliseconds."""
    for link in lab.state.topology().hosts[pop].links:
        wire.plug(lab.state, link, up=False)


@contextlib.contextmanager
def swallowed(lab, pop):
    """The PoP's cables eat every packet, and nobody sees a carrier go: only BFD and silence tell."""
    links = lab.state.topology().hosts[pop].links
    for link in links:
        wire.sever(lab.state, link)
    try:
        yield
    finally:
        for link in links:
            wire.join(lab.state, link)


def cpu_seconds(lab, pop):
    """Of all threads of that PoP's suture, so far."""
    tasks = pathlib.Path(f"/proc/{procs.pid_of(lab.state, pop, 'suture')}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9


def cut_power(lab, pop):
    """`lab kill` without a process of its own. Returns when the links were gone (time.monotonic)."""
    with lab.state.lock():
        topo = lab.state.topology()
        unplug(lab, pop)
        gone = time.monotonic()
        lifecycle.kill(lab.state, topo, pop)
    return gone


def directory(lab, pop):
    """{(family, port of the client): the session as that PoP knows it}. The families' ports are drawn independently."""
    status, body = lab.admin(pop, "/sessions?limit=2000")
    assert status == 200, body
    return {named(one["client"]): one for one in json.loads(body)["sessions"]}


def named(client):
    """(family, port) of "192.0.2.1:40000" or "[2001:db8::1]:40000"."""
    return 6 if client.startswith("[") else 4, int(client.rpartition(":")[2])


def names(talks):
    return {(talk.family, talk.port) for talk in talks}


def known_everywhere(lab, talks, pops=("pop1", "pop2", "pop3")):
    """All these PoPs know these connections, and of each what its owner knows now: requests, too, that are under way."""
    wanted = dict.fromkeys(names(talks))
    for pop in pops:
        wanted.update({name: one for name, one in directory(lab, pop).items() if one["own"] and name in wanted})
    everything_known(lab, wanted, pops)


def everything_known(lab, wanted, pops):
    """`wanted`: {(family, port): the owner's own view}; None: the connection is enough."""
    def behind(pop):
        there = directory(lab, pop)
        return {name: (one, there.get(name)) for name, one in wanted.items()
                if name not in there or one is not None and (there[name]["in_known"] < one["in_known"]
                                                             or there[name].get("exchanges", 0) < one.get("exchanges", 0))}
    for pop in pops:
        deadline = time.monotonic() + PATIENCE
        while late := behind(pop):
            assert time.monotonic() < deadline, f"{pop} does not know {len(late)} sessions as their owner does:\n" + "\n".join(
                f"{name}: {one}, there {there}" for name, (one, there) in list(late.items())[:5])
            time.sleep(0.1)  # building the page takes the PoP a while


def owner_of(lab, pop, talk):
    """The id of the owner of that connection, as the PoP's directory has it."""
    return directory(lab, pop).get((talk.family, talk.port), {}).get("owner")


# ---- what the PoPs say of it

def marks(lab):
    """Where each PoP's log ends now."""
    return {pop["name"]: len(lab.log(pop["name"])) for pop in lab.status()["pops"]}


def told(lab, event, since, pops=("pop1", "pop2", "pop3")):
    """[{key: value}] of the log lines of that event after `since`; `pop` and `time` (seconds of the day) added."""
    found = []
    for pop in pops:
        with contextlib.suppress(OSError):
            for line in lab.log(pop)[since.get(pop, 0):].splitlines():
                parts = re.match(rf"\S+T(\d+):(\d+):([\d.]+)\S* \w+ {event} (.*)", line)
                if parts:
                    values = {key: value.strip('"') for key, value in re.findall(r'(\w+)=("[^"]*"|\S+)', parts[4])}
                    found.append({"pop": pop, "time": int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3]), **values})
    return found


def healed(lab, since, talks=None):
    """The stories of heals, of these connections only if they are given."""
    stories = told(lab, "healed", since)
    if talks is None:
        return stories
    return [one for one in stories if named(one["flow"].partition(">")[0]) in names(talks)]


def wait_healed(lab, since, talks, timeout=PATIENCE):
    wait_until(lambda: len(healed(lab, since, talks)) >= len(talks), timeout, what=f"{len(talks)} sessions healed")
    return healed(lab, since, talks)


def by(stories, key):
    found = {}
    for one in stories:
        found[one[key]] = found.get(one[key], 0) + 1
    return found


def spread(values, unit="ms"):
    values = sorted(values)
    return (f"median {values[len(values) // 2]:.0f} {unit}, p99 {values[len(values) * 99 // 100]:.0f} {unit}, "
            f"longest {values[-1]:.0f} {unit}") if values else "none"


def no_resets(capture, but=()):
    """No RST from the VIP to any client, but to these ports."""
    resets = []
    for _, source, _, tcp, _ in demo_capture._packets(capture.path):
        port, target, sequence, acknowledged = struct.unpack_from(">HHII", tcp)
        if source in VIPS and tcp[13] & demo_capture.RST and target not in but:
            resets.append(f"VIP:{port} to {target}: SEQ {sequence}, ACK {acknowledged}, flags {tcp[13]:#x}")
    assert not resets, f"{len(resets)} RST from the VIP:\n" + "\n".join(resets[:12])


# ---- the wire

def tcp_of(frame):
    """(source, destination, TCP header and payload) of an Ethernet frame; None if it is no TCP."""
    if frame[12:14] == b"\x08\x00" and frame[23] == 6:
        size = struct.unpack_from(">H", frame, 16)[0]
        return frame[26:30], frame[30:34], frame[14 + (frame[14] & 15) * 4:14 + size]
    if frame[12:14] == b"\x86\xdd" and frame[20] == 6:
        size = struct.unpack_from(">H", frame, 18)[0]
        return frame[22:38], frame[38:54], frame[54:54 + size]
    return None


class Nudges:
    """Probes and fences that reach a client: segments of one byte that it has acknowledged long ago."""

    def __init__(self, lab, client):
        host = lab.state.topology().hosts[client]
        device = host.links[0].other(client)
        self._socket = suture.socket_in(netns.path(lab.state, client), socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((device, 3))
        self._socket.settimeout(PATIENCE)
        self.ports = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def frame(self):
        return self._socket.recv(65536)

    def wait(self, count):
        """Until `count` of them have come, beginning with now."""
        self.ports = []
        while len(self.ports) < count:
            frame = self.frame()
            parts = tcp_of(frame)
            if parts and parts[0] in VIPS and len(parts[2]) - (parts[2][12] >> 4) * 4 == 1 and not parts[2][13] & 7:
                self.ports.append(struct.unpack_from(">H", parts[2], 2)[0])
        return self.ports


def stop_process(lab, pop):
    """SIGSTOP, and every thread of suture stands: the kernel acknowledges until the heartbeat's limit, and nobody reads."""
    pid = procs.pid_of(lab.state, pop, "suture")
    os.kill(pid, signal.SIGSTOP)

    def stands():
        return all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
    wait_until(stands, 5, 0, what=f"{pop}'s suture stopped")


class Reader(threading.Thread):
    """Reads one response's body to its end; keeps every byte and the longest silence."""

    def __init__(self, talk, size):
        super().__init__(daemon=True)
        self.talk, self.size, self.data, self.stall, self.how, self.last = talk, size, bytearray(), 0.0, None, time.monotonic()
        self.start()

    def run(self):
        try:
            while len(self.data) < self.size:
                self.data += self.talk.some()
                now = time.monotonic()
                self.stall, self.last = max(self.stall, now - self.last), now
            self.how = "whole"
        except Ended as ended:
            self.how = ended.how
        except AssertionError as error:
            self.how = str(error)

    def beyond(self, size):
        wait_until(lambda: len(self.data) > size or self.how, PATIENCE, what=f"more than {size} bytes (at {len(self.data)})")
        return self

    def check(self):
        self.join(PATIENCE)
        assert self.how == "whole", f"IPv{self.talk.family}: {self.how} after {len(self.data)} of {self.size} bytes"
        assert bytes(self.data) == pattern(self.size), "wrong bytes"


def download(talk, size, rate=200_000, extra=""):
    talk.send("GET", f"/file?n={size}&rate={rate}{extra}")
    status, headers = talk.head()
    assert status == 200 and int(headers["content-length"]) == size
    return Reader(talk, size)
