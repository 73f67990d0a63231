"""The topology of most tests, and one connection over it.

    namespace ..s                                      namespace ..c
    lo  10.88.0.1 fd88::1 (the VIP) -- s0 ======= c0   10.77.0.2 fd77::2
        the owner's kernel             10.77.0.1       the client: a stock Linux kernel

RSTs of the owner's kernel do not leave from ports below 20000, as behind PROTOCOL.md's egress rule 2: what the client does then is
because of our segments alone. Ports from 20000 on are an ordinary kernel's. The client's kernel sends no RST from its ports 9000-9999:
packets that a test makes with them stand for a client somewhere else.
"""
import contextlib
import errno
import itertools
import socket

from netns import Namespace, run, wait_until
import repair
from wire import ACK, RST, Segment, Tap, add, tcp_packet

VIP = {4: "10.88.0.1", 6: "fd88::1"}
OWNER = {4: "10.77.0.1", 6: "fd77::1"}
CLIENT = {4: "10.77.0.2", 6: "fd77::2"}
MAC_S, MAC_C = "02:00:00:00:00:01", "02:00:00:00:00:02"
MARK = 0x5E


class Link:
    def __init__(self, prefix):
        self.server = self.client = None
        self.prefix = prefix
        self._ports = {True: itertools.count(10000), False: itertools.count(20000)}
        self._elsewhere = itertools.count(9000)

    def up(self):
        self.server, self.client = Namespace(self.prefix + "_s"), Namespace(self.prefix + "_c")
        run("ip", "link", "add", "s0", "netns", self.server.name, "address", MAC_S, "type", "veth",
            "peer", "name", "c0", "netns", self.client.name, "address", MAC_C)
        for space, device, own, other, mac in ((self.server, "s0", OWNER, CLIENT, MAC_C), (self.client, "c0", CLIENT, OWNER, MAC_S)):
            space.ip("addr", "add", own[4] + "/24", "dev", device)
            space.ip("addr", "add", own[6] + "/64", "dev", device, "nodad")
            space.ip("link", "set", device, "up")
            with space:  # one packet for each segment, checksums complete
                run("ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx", "off")
            for family in (4, 6):
                space.ip("neigh", "replace", other[family], "lladdr", mac, "nud", "permanent", "dev", device)
        for family, bits in ((4, 32), (6, 128)):
            self.server.ip("addr", "add", f"{VIP[family]}/{bits}", "dev", "lo", *(["nodad"] if family == 6 else []))
            self.client.ip("route", "add", VIP[family], "via", OWNER[family])
        self.server.nft("add table inet mute; add chain inet mute out { type filter hook output priority 0; };"
                        f"add rule inet mute out tcp sport 10000-19999 tcp flags & rst == rst meta mark != {MARK} drop")
        self.client.nft("add table inet mute; add chain inet mute out { type filter hook output priority 0; };"
                        "add rule inet mute out tcp sport 9000-9999 tcp flags & rst == rst drop")

    def down(self):
        for space in (self.server, self.client):
            if space:
                space.delete()

    def port(self, muted=True):
        return next(self._ports[muted])

    def elsewhere(self):
        """A client port that no socket of the client's kernel has."""
        return next(self._elsewhere)

    def server_tap(self):
        return Tap(self.server, "s0", MAC_S, MAC_C)

    def client_tap(self):
        return Tap(self.client, "c0", MAC_C, MAC_S)

    def listen(self, family, port, **options):
        """A listener on the VIP; options are TCP socket options by name."""
        with self.server:
            listener = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for name, value in options.items():
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name, None) or getattr(repair, name), value)
        listener.bind((VIP[family], port))
        listener.listen(16)
        listener.settimeout(10)
        return listener


class Conn:
    """A client's connection to the VIP, its owner's socket, and a tap at the owner's device.

    `snd`, `rcv`: the owner's next sequence numbers, both sides having acknowledged everything below.
    """

    def __init__(self, link, family=4, *, muted=True, timestamps=True, sack=True, wscale=True, rcvbuf=None, **listen):
        self.link, self.family = link, family
        self.port = link.port(muted)
        self.tap = link.server_tap()
        self._cleanup = contextlib.ExitStack()
        self.keep(self.tap)
        self.listener = self.keep(link.listen(family, self.port, **listen))
        wanted = {"net.ipv4.tcp_timestamps": int(timestamps), "net.ipv4.tcp_sack": int(sack),
                  "net.ipv4.tcp_window_scaling": int(wscale)}
        for key, value in wanted.items():
            link.client.sysctl(key, value)
        with link.client:
            self.client = self.keep(socket.socket(self.listener.family))
        if rcvbuf:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.client.settimeout(10)
        try:
            self.client.connect((VIP[family], self.port))
        finally:
            for key in wanted:
                link.client.sysctl(key, 1)
        self.server = self.keep(self.listener.accept()[0])
        self.server.settimeout(10)
        self.begin()

    def begin(self):
        self.local, self.peer = self.server.getsockname()[:2], self.server.getpeername()[:2]
        self.facts = repair.read_facts(self.server)
        self.iss, self.irs = add(self.facts.snd, -1), add(self.facts.rcv, -1)
        self.snd, self.rcv = self.facts.snd, self.facts.rcv
        self.clock = None  # the dead owner's TSval when it died

    def keep(self, resource):
        self._cleanup.callback(resource.close)
        return resource

    def close(self):
        with contextlib.suppress(OSError):
            if self.server.fileno() >= 0:
                repair.close_silently(self.server)
        self._cleanup.close()

    # what the two applications do
    def say(self, data):
        """Owner to client, read and acknowledged."""
        self.server.sendall(data)
        assert self.read(self.client, len(data)) == data
        self.snd = add(self.snd, len(data))
        wait_until(lambda: repair.unacked_bytes(self.server) == 0, what="the client's acknowledgement")

    def hear(self, data):
        """Client to owner, read and acknowledged."""
        self.client.sendall(data)
        assert self.read(self.server, len(data)) == data
        self.rcv = add(self.rcv, len(data))
        wait_until(lambda: repair.unacked_bytes(self.client) == 0, what="the owner's acknowledgement")

    @staticmethod
    def read(sock, count):
        data = bytearray()
        while len(data) < count:
            got = sock.recv(count - len(data))
            if not got:
                break
            data += got
        return bytes(data)

    def die(self):
        """The owner's socket disappears without a segment."""
        if self.facts.timestamps:
            self.clock = repair.read_clock(self.server)
        repair.close_silently(self.server)
        self.settle()
        return self

    def rebuild(self, snd=None, rcv=None, tsval=None, **more):
        """The heir's socket, by default at the cursor; it becomes `server`."""
        facts = self.facts.__class__(**{**vars(self.facts), "snd": self.snd if snd is None else snd,
                                        "rcv": self.rcv if rcv is None else rcv})
        if facts.timestamps and tsval is None:
            tsval = (self.clock + 4096) & ~1
        with self.link.server:
            self.server = self.keep(repair.rebuild(self.local, self.peer, facts, tsval, **more))
        self.server.settimeout(10)
        return self.server

    # what the wire sees
    def segment(self, seq, ack=None, **more):
        """A segment of ours, as bytes; ACK defaults to `rcv`."""
        return tcp_packet(self.local[0], self.peer[0], self.port, self.peer[1], seq,
                          self.rcv if ack is None else ack, **more)

    def emit(self, seq, ack=None, **more):
        self.tap.emit(self.segment(seq, ack, **more))

    def answers(self, seq, ack=None, **more):
        """Emits a segment and returns what the client sends at once because of it."""
        self.settle()
        self.emit(seq, ack, **more)
        return self.from_client()

    def answer(self, seq, ack=None, **more):
        """The pure ACK that answers a segment. (On a slow machine a retransmission of the client may come beside it.)"""
        got = [one for one in self.answers(seq, ack, **more) if one.pure_ack]
        assert len(got) == 1, f"one answer expected: {got}"
        return got[0]

    def fence(self, tsval, seq=None, ack=None, **more):
        """One garbage byte at c - 1 (PROTOCOL.md); its only answer."""
        return self.answer(add(self.snd, -1) if seq is None else seq, ack, tsval=tsval, payload=b"\0", **more)

    def barrier(self):
        """All segments of the flow on the wire until everything sent so far was answered, in both directions."""
        return self.tap.barrier(VIP[self.family], CLIENT[self.family], port=self.port)

    def settle(self):
        self.barrier()

    def from_client(self):
        return [one for one in self.barrier() if not one.out]

    def from_server(self):
        return [one for one in self.barrier() if one.out]

    def next(self, wanted, what="a segment"):
        """The first segment of the flow from here on that is wanted()."""
        return self.tap.upto(lambda one: isinstance(one, Segment) and wanted(one), what, port=self.port)[-1]


class Forged(Conn):
    """A connection made by TCP_REPAIR at both ends, with initial sequence numbers of choice."""

    def __init__(self, link, family, iss, irs):  # pylint: disable=super-init-not-called
        self.link, self.family, self.port = link, family, link.port()
        self.tap = link.server_tap()
        self._cleanup = contextlib.ExitStack()
        self.keep(self.tap)
        local, peer = (VIP[family], self.port), (CLIENT[family], self.port)
        out, back = add(iss, 1), add(irs, 1)
        with link.server:
            self.server = self.keep(repair.rebuild(local, peer, repair.Facts(out, back), 1_000_000))
        with link.client:
            self.client = self.keep(repair.rebuild(peer, local, repair.Facts(back, out), 2_000_000))
        self.server.settimeout(10)
        self.client.settimeout(10)
        self.begin()


def drain(sock):
    """Reads until nothing more is there: "EAGAIN", "end" after a FIN, or another error's name. Leaves the socket non-blocking."""
    sock.setblocking(False)
    while True:
        try:
            if not sock.recv(1 << 20):
                return "end"
        except OSError as error:
            return errno.errorcode[error.errno]


def is_rst(one):
    return isinstance(one, Segment) and bool(one.flags & RST)


def is_data(one):
    return isinstance(one, Segment) and bool(one.payload) and bool(one.flags & ACK)
