"""TUN: the device that the route hangs on, and the way in for held strays (DESIGN.md idea 5, PROTOCOL.md claim step 3; e7)."""
import fcntl
import os
import pathlib
import resource
import signal
import struct

import pytest

import repair
from link import VIP
from netns import wait_until
from observer import TUN_IFINDEX, TUN_PORT
from wire import add, again, tcp_packet

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
TABLE = 199


class Tun:
    """A non-persistent TUN device, up; it exists as long as `fd` or a copy of it is open."""

    def __init__(self, space, name):
        self.space, self.name, self.child = space, name, None
        with space:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        space.ip("link", "set", name, "up")

    def exists(self):
        with self.space, open("/proc/thread-self/net/dev", encoding="ascii") as file:
            return f"{self.name}:" in file.read()

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def hand_over(self, then):
        """A process becomes the only holder of the descriptor and calls then()."""
        self.child = os.fork()
        if self.child == 0:
            try:
                then()
            finally:
                os._exit(1)
        self.close()
        return self.child

    def end_child(self, kill=True):
        """Its wait status."""
        if self.child is None:
            return None
        child, self.child = self.child, None
        if kill:
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]


@pytest.fixture
def tun(link):
    made = []

    def make(name="tun0"):
        made.append(Tun(link.server, name))
        return made[-1]
    yield make
    for one in made:
        one.close()
        one.end_child()


def announce(one):
    """The VIP's route, as the announcer makes it."""
    one.space.ip("route", "add", VIP[4], "dev", one.name, "table", TABLE)
    one.space.ip("-6", "route", "add", VIP[6], "dev", one.name, "table", TABLE)
    assert routes(one)


def routes(one):
    """The routes of the announcer's table, both families ('table all': asking for an empty table is an error)."""
    text = one.space.ip("route", "show", "table", "all") + one.space.ip("-6", "route", "show", "table", "all")
    return [line for line in text.splitlines() if f"table {TABLE}" in line]


def test_closing_the_descriptor_removes_device_and_route(tun):
    """Idea 5, 'the route follows the process': no netlink call of ours is needed to withdraw."""
    one = tun()
    announce(one)
    one.close()
    assert not one.exists() and routes(one) == []


def test_sigkill_of_the_holder_removes_device_and_route(tun):
    """'Dead: the kernel removes the device and with it the route.'"""
    one = tun()
    announce(one)
    one.hand_over(signal.pause)
    assert one.exists()
    assert one.end_child() == signal.SIGKILL
    wait_until(lambda: not one.exists(), what="removal of the device")
    assert routes(one) == []


def test_an_inherited_descriptor_keeps_the_device(tun):
    """'TUN descriptor close-on-exec': a child that still has it keeps the route announced after its parent is gone."""
    one = tun()
    announce(one)
    one.hand_over(signal.pause)  # closes ours
    assert one.exists() and routes(one)


def test_a_core_dump_holds_the_device_for_its_duration(tun, tmp_path):
    """'RLIMIT_CORE 0: a core dump holds the device': while /proc says CoreDumping the device is still there."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    if pattern.startswith("|") or "/" in pattern:
        pytest.skip(f"core_pattern {pattern!r} sends cores out of the test's folder")
    one = tun()

    def crash():
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        memory = bytearray(os.urandom(1 << 20)) * 200  # pages that are really there
        memory[0] = 1
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.abort()
    child = one.hand_over(crash)
    status = pathlib.Path(f"/proc/{child}/status")

    def dumping():
        return "CoreDumping:\t1" in status.read_text(encoding="ascii")

    def held():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return "over"
        return dumping() and one.exists() and dumping() and "held"
    outcome = wait_until(held, timeout=30, what="a core dump")
    assert os.WCOREDUMP(one.end_child(kill=False)), "no core was written"
    assert outcome == "held"
    wait_until(lambda: not one.exists(), what="removal of the device")


def stray(conn, payload):
    """A data packet of the client as it is held, built anew so that the client itself will not repeat it."""
    return tcp_packet(conn.peer[0], VIP[conn.family], conn.peer[1], conn.port, conn.rcv, conn.snd, payload=payload)


def test_a_packet_written_into_a_tun_device_reaches_an_established_socket(connect, tun, family):
    """Claim, step 3, held strays 'written into the rebuilt socket': to an address on lo, answered over the real interface."""
    conn = connect(family)
    one = tun()
    conn.die()
    conn.client.send(b"stray")
    held, = [got for got in conn.from_client() if got.payload]
    conn.rebuild()
    os.write(one.fd, again(held))
    assert conn.server.recv(100) == b"stray"
    ack = conn.next(lambda got: got.out, "the acknowledgement, on the client's link")
    assert ack.ack == add(conn.rcv, 5)


def test_rp_filter_on_the_tun_device_drops_what_is_written_into_it(connect, tun, link):
    """'rp_filter 0 there' (IPv4; conf.all and the device, the larger one counts): a client's route does not lead to the TUN."""
    conn = connect(4)
    one = tun()
    conn.settle()
    for key in ("all", one.name):
        link.server.sysctl(f"net.ipv4.conf.{key}.rp_filter", 1)
        os.write(one.fd, stray(conn, b"dropped"))
        conn.settle()
        assert repair.unread_bytes(conn.server) == 0
        link.server.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
    os.write(one.fd, stray(conn, b"taken"))
    assert conn.server.recv(100) == b"taken"


def test_a_tun_device_that_is_down_takes_no_packets(connect, tun):
    """The injection path needs the device up (EIO), with or without addresses."""
    conn = connect(4)
    one = tun()
    one.space.ip("link", "set", one.name, "down")
    assert repair.refusal(os.write, one.fd, stray(conn, b"x")) == "EIO"


def test_redirect_to_a_tun_device_strips_the_ethernet_header(connect, tun, link, programs, family):
    """Rung 7, punt: user space reads a bare IP packet, byte for byte what was on the wire."""
    conn = connect(family)
    one = tun()
    conn.settle()
    index = int(link.server.ip("-o", "link", "show", one.name).split(":")[0])
    programs.put(TUN_IFINDEX, index)
    programs.put(TUN_PORT, conn.port)
    programs.attach(link.server, "s0", "ingress", "to_tun")
    try:
        conn.client.send(b"punted")
        packet = None

        def read():
            nonlocal packet
            try:
                packet = os.read(one.fd, 2048)
            except BlockingIOError:
                return False
            return b"punted" in packet  # router solicitations of the device come here too
        wait_until(read, what="the punted packet")
    finally:
        programs.attach(link.server, "s0", "ingress", "ingress")
    wire = conn.next(lambda got: not got.out and got.payload == b"punted", "the packet on the wire")
    assert packet == wire.packet
    assert repair.unread_bytes(conn.server) == 0
