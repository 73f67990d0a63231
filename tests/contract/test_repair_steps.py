"""TCP_REPAIR: the order of its steps, and what it sends (KERNEL.md; net/ipv4/tcp.c, tcp_output.c)."""
import socket
import struct

import pytest

import repair
from link import drain
from repair import (REPAIR_OFF, REPAIR_OFF_NO_PROBE, REPAIR_ON, SEND_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_OPTIONS,
                    TCP_REPAIR_QUEUE, TCP_REPAIR_WINDOW, TCP_TIMESTAMP)
from wire import FIN, RST, add


def test_connect_in_repair_mode_sends_nothing(connect, family):
    """Claim, step 3 (rebuilt): no segment before the socket is complete."""
    conn = connect(family)
    conn.die()
    conn.rebuild(end=None)
    assert conn.barrier() == []


def test_repair_0_sends_a_window_probe_below_the_cursor(connect, family):
    """KERNEL.md: leaving by 0 sends a segment of the kernel's own; the rebuilder leaves by -1 and sends only what the table allows."""
    conn = connect(family)
    conn.die()
    conn.rebuild(end=REPAIR_OFF)
    probe, = conn.from_server()
    assert (probe.seq, probe.payload, probe.pure_ack) == (add(conn.snd, -1), b"", True)


def test_repair_minus_1_sends_nothing(connect, family):
    """Claim, step 3: a rebuilt socket says nothing by itself. The first segment is the application's."""
    conn = connect(family)
    conn.die()
    conn.rebuild(end=REPAIR_OFF_NO_PROBE)
    conn.server.send(b"first")
    assert [(one.seq, one.payload) for one in conn.from_server()] == [(conn.snd, b"first")]


def test_reading_facts_at_accept_sends_nothing_and_loses_nothing(connect, family):
    """'What the owner does with a socket at accept': TCP_REPAIR 1, read, TCP_REPAIR -1, on a socket with unread bytes."""
    conn = connect(family)
    conn.client.send(b"request")
    conn.settle()
    facts = repair.read_facts(conn.server)
    assert conn.from_server() == []
    assert facts.rcv == add(conn.rcv, 7) and facts.snd == conn.snd
    assert conn.server.recv(100) == b"request"


def test_queue_seq_is_refused_after_connect(connect):
    """KERNEL.md, order: sequence numbers before connect (EPERM unless TCP_CLOSE)."""
    conn = connect()
    conn.die()
    conn.rebuild(end=None)
    repair.option(conn.server, TCP_REPAIR_QUEUE, SEND_QUEUE)
    assert repair.refusal(repair.option, conn.server, TCP_QUEUE_SEQ, 1) == "EPERM"


def test_repair_options_are_refused_before_connect(link):
    """KERNEL.md, order: options after connect (EPERM unless ESTABLISHED)."""
    with link.server, socket.socket() as sock:
        repair.option(sock, TCP_REPAIR, REPAIR_ON)
        assert repair.refusal(repair.option, sock, TCP_REPAIR_OPTIONS, repair.repair_options(repair.Facts(1, 1))) == "EPERM"


@pytest.mark.parametrize("name", [TCP_TIMESTAMP, TCP_REPAIR_WINDOW], ids=["TCP_TIMESTAMP", "TCP_REPAIR_WINDOW"])
def test_clock_and_window_are_refused_outside_repair_mode(connect, name):
    """At accept the timestamp offset is moved inside repair mode: outside it is EPERM."""
    conn = connect()
    value = struct.pack("I", 2) if name == TCP_TIMESTAMP else struct.pack("5I", conn.irs, 1, 1, 1, conn.rcv)
    assert repair.refusal(repair.option, conn.server, name, value) == "EPERM"


def test_repair_window_refuses_a_send_window_above_its_maximum(connect):
    """KERNEL.md, order: TCP_REPAIR_WINDOW wants max_window >= snd_wnd (EINVAL), also for a zero window."""
    conn = connect()
    conn.die()
    conn.rebuild(end=None)
    window = struct.pack("5I", conn.irs, 2000, 1000, 65535, conn.rcv)
    assert repair.refusal(repair.option, conn.server, TCP_REPAIR_WINDOW, window) == "EINVAL"


@pytest.mark.parametrize("reuse, outcome", [(False, None), (True, "EADDRINUSE")], ids=["plain", "SO_REUSEADDR set"])
def test_bind_beside_a_listener_works_unless_reuseaddr_is_set_after_repair(link, family, reuse, outcome):
    """KERNEL.md: TCP_REPAIR forces reuse for the bind; SO_REUSEADDR between it and bind overwrites that."""
    port = link.port()
    listener = link.listen(family, port)
    with link.server:
        sock = socket.socket(listener.family)
    repair.option(sock, TCP_REPAIR, REPAIR_ON)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    assert repair.refusal(sock.bind, listener.getsockname()) == outcome
    sock.close()
    listener.close()


@pytest.mark.parametrize("reuse, outcome", [(False, "EADDRINUSE"), (True, None)], ids=["plain", "SO_REUSE* set"])
def test_new_listener_beside_a_rebuilt_socket_needs_reuseaddr_and_reuseport(connect, link, family, reuse, outcome):
    """Claim, step 3: 'after repair ends SO_REUSEADDR + SO_REUSEPORT', or a restarted listener gets EADDRINUSE (e8)."""
    conn = connect(family)
    conn.die()
    conn.listener.close()
    conn.rebuild()
    if reuse:
        for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            conn.server.setsockopt(socket.SOL_SOCKET, name, 1)
    with link.server:
        listener = socket.socket(conn.server.family)
    for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        listener.setsockopt(socket.SOL_SOCKET, name, 1)
    assert repair.refusal(listener.bind, (conn.local[0], conn.port)) == outcome
    if not outcome:
        listener.listen(1)
    listener.close()


@pytest.mark.parametrize("silent", [True, False], ids=["in repair mode", "ordinary"])
def test_closing_in_repair_mode_is_silent(connect, family, silent):
    """States of a claim: 'released (silent)'. With unread and unacknowledged data an ordinary close would say RST."""
    conn = connect(family, muted=False)
    conn.client.send(b"unread")
    conn.settle()
    if silent:
        repair.option(conn.server, TCP_REPAIR, REPAIR_ON)
    conn.server.close()
    said = [one.flags & (FIN | RST) for one in conn.from_server()]
    assert said == ([] if silent else [RST])


def test_a_frozen_sockets_unsent_data_goes_with_it(connect):
    """Frozen owner, released: what lies in its send queue is never sent after a silent close, whatever the client does."""
    conn = connect(rcvbuf=4096)
    conn.server.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            conn.server.send(b"x" * 1000)
    conn.server.setblocking(True)
    conn.settle()
    repair.close_silently(conn.server)
    assert drain(conn.client) == "EAGAIN"  # the window opens: the client sends updates, nobody answers with data
    assert conn.from_server() == []


def test_a_socket_in_repair_mode_still_takes_and_acknowledges_data(connect, family):
    """Pitfall 'packets reaching a half-restored socket': the kernel does not hold them back, so strays are held in user space
    until the socket is complete."""
    conn = connect(family)
    conn.settle()
    repair.option(conn.server, TCP_REPAIR, REPAIR_ON)
    conn.client.send(b"early")
    acks = [one for one in conn.from_server() if one.ack == add(conn.rcv, 5)]
    if not acks:  # the delayed ACK
        conn.next(lambda one: one.out and one.ack == add(conn.rcv, 5), "an ACK from a socket in repair mode")
    assert repair.queue_seq(conn.server, repair.RECV_QUEUE) == add(conn.rcv, 5)
    repair.option(conn.server, TCP_REPAIR, REPAIR_OFF_NO_PROBE)
    assert conn.server.recv(100) == b"early"


def test_a_half_restored_socket_ignores_scale_and_timestamps_until_options_are_set(connect, family):
    """The same pitfall, earlier: between connect and TCP_REPAIR_OPTIONS the kernel acknowledges without timestamps, and FreeBSD drops
    such segments."""
    conn = connect(family)
    conn.die()
    with conn.link.server:
        conn.server = conn.keep(repair.open_in_repair(conn.local, conn.peer, repair.Facts(conn.snd, conn.rcv)))
    conn.client.send(b"early")
    got = conn.next(lambda one: one.out, "an ACK of a half-restored socket")
    assert got.tsval is None and got.ack == add(conn.rcv, 5)
