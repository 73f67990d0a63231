"""Sockets whose process is gone (PROTOCOL.md, Egress rule 1; DESIGN.md idea 4)."""
import os
import signal
import socket

import pytest

import repair
from link import drain, is_rst
from netns import run
from observer import FIN_WAIT1
from wire import FIN, RST


def sockets(conn, *options):
    """The kernel's lines for the owner's side of this flow."""
    with conn.link.server:
        lines = run("ss", "-Htan", *options, f"sport = :{conn.port} and dport = :{conn.peer[1]}")
    return [line.split()[0] for line in lines.splitlines()]


def killed(conn, fill=True):
    """A process of its own holds the owner's socket, has written until it would block, and is killed. Bytes that it wrote."""
    conn.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 500_000)
    conn.server.setblocking(False)
    queued = 0
    while fill:
        try:
            queued += conn.server.send(b"x" * 10_000)
        except BlockingIOError:
            break
    child = os.fork()
    if child == 0:
        try:
            signal.pause()
        finally:
            os._exit(1)
    conn.server.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return queued


def test_a_killed_process_socket_goes_on_sending_what_it_had_buffered(connect, family):
    """'A killed process's socket goes on sending megabytes' (e3): nothing but an egress drop stops it."""
    conn = connect(family, rcvbuf=20_000)
    queued = killed(conn)
    assert queued > 400_000 and sockets(conn) == ["FIN-WAIT-1"]
    assert len(conn.read(conn.client, queued)) == queued
    assert conn.client.recv(10) == b"", "and then it says FIN"


def test_a_killed_process_idle_socket_says_fin_by_itself(connect, family):
    """Idea 4: without the egress program the client of a killed proxy is told the end, unmarked; with unread data RST."""
    conn = connect(family, muted=False)
    conn.settle()
    killed(conn, fill=False)
    assert [one.flags & (FIN | RST) for one in conn.from_server()] == [FIN]
    conn = connect(family, muted=False)
    conn.client.send(b"unread")
    conn.settle()
    killed(conn, fill=False)
    assert [one.flags & (FIN | RST) for one in conn.from_server()] == [RST]


def test_an_orphans_segments_are_dead_and_unmarked_in_tc(connect, observer):
    """Egress rule 3, 'unmarked orphan -> drop': what tc can tell them by."""
    conn = connect(rcvbuf=20_000)
    killed(conn)
    observer.clear()
    assert conn.client.recv(1 << 20)
    conn.next(lambda one: one.out and one.payload, "more of the orphan's data")
    conn.settle()
    seen = [one for one in observer.events(conn.port) if one.out]
    assert seen and {(one.dead, one.state, one.mark) for one in seen} == {(1, FIN_WAIT1, 0)}


@pytest.mark.parametrize("orphaned", [True, False], ids=["orphan", "owned"])
def test_sock_destroy_removes_a_socket_and_it_sends_nothing_more(connect, family, orphaned):
    """'Before its first heartbeat a starting process destroys all VIP:port sockets (SOCK_DESTROY)': ss -K speaks the same inet_diag."""
    conn = connect(family, rcvbuf=20_000)
    if orphaned:
        killed(conn)
    assert len(sockets(conn)) == 1
    sockets(conn, "-K")
    assert sockets(conn) == []
    conn.settle()
    assert drain(conn.client) == "EAGAIN", "no FIN follows"
    assert conn.from_server() == []


def test_sock_destroy_says_rst(connect, family):
    """Why the heartbeat, and with it the egress program's rule 1, comes after that: destroying a socket tells its client (tcp_abort)."""
    conn = connect(family, muted=False)
    conn.settle()
    sockets(conn, "-K")
    said = conn.from_server()
    assert [is_rst(one) for one in said] == [True]


def test_an_orphan_shadows_its_flow_until_it_is_destroyed(connect, link, family):
    """KERNEL.md: 'Sockets orphaned by a killed process stay in the kernel and shadow their flow': no rebuild beside one (EADDRNOTAVAIL)."""
    conn = connect(family, rcvbuf=20_000)
    killed(conn)
    with link.server:
        assert repair.refusal(repair.open_in_repair, conn.local, conn.peer, conn.facts) == "EADDRNOTAVAIL"
        sockets(conn, "-K")
        again = repair.open_in_repair(conn.local, conn.peer, conn.facts)
    repair.close_silently(again)
