"""A dead owner's socket rebuilt at (c, L): the stream goes on in both directions (PROTOCOL.md, claim, step 3)."""
import os
import random
import socket

import pytest

import repair
from link import Forged
from netns import run, wait_until
from wire import ACK, RST, SYN, add, again, diff, tcp_packet

FIN_WAIT2 = 5  # net/tcp_states.h
SIZE = 300_000  # beyond the initial window and beyond 64 kB


def exchange(conn, size=SIZE):
    """`size` bytes in each direction, both applications reading only when the other has nothing more to write now."""
    noise = random.Random(7).randbytes(size)
    for source, target in ((conn.server, conn.client), (conn.client, conn.server)):
        sent, got = 0, bytearray()
        source.setblocking(False)
        target.setblocking(False)

        def step():
            nonlocal sent
            try:
                sent += source.send(noise[sent:])
            except BlockingIOError:
                pass
            try:
                got.extend(target.recv(1 << 20))
            except BlockingIOError:
                pass
            return len(got) == size
        wait_until(step, what="the transfer")
        assert bytes(got) == noise
        source.settimeout(10)
        target.settimeout(10)


def test_without_tcpopt_wscale_a_rebuilt_socket_shifts_its_window_by_its_own_scale(connect, family):
    """A flow without window scaling must be rebuilt with TCPOPT_WSCALE 0 | 0 << 16, not without the option: connect() in repair mode chose
    a scale (tcp_connect_init), nobody clears it, TCP_INFO does not show it, and the client takes the shifted window for bytes."""
    conn = connect(family, wscale=False).die()
    conn.rebuild(leave_out_wscale=True)
    conn.server.send(b"x")
    assert conn.next(lambda one: one.out, "the heir's segment").win < 2048
    assert repair.info(conn.server, "scales") == 0
    conn = connect(family, wscale=False).die()
    conn.rebuild()
    conn.server.send(b"x")
    assert conn.next(lambda one: one.out, "the heir's segment").win == 65535


@pytest.mark.parametrize("wscale", [True, False], ids=["wscale", "no-wscale"])
@pytest.mark.parametrize("sack", [True, False], ids=["sack", "no-sack"])
@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no-timestamps"])
def test_rebuilt_socket_continues_both_directions(connect, family, timestamps, sack, wscale):
    """Claim, step 3: TCP_REPAIR at (c, L) with the options of the handshake. Windows (no timestamps) is a main case."""
    conn = connect(family, timestamps=timestamps, sack=sack, wscale=wscale)
    conn.say(b"A" * 1000)
    conn.hear(b"a" * 500)
    conn.die()
    conn.rebuild()
    assert (conn.facts.timestamps, conn.facts.sack, conn.facts.wscale) == (timestamps, sack, wscale)
    expected = timestamps * repair.OPT_TIMESTAMPS | sack * repair.OPT_SACK
    assert repair.info(conn.server, "options") & 3 == expected
    assert repair.info(conn.server, "scales") == conn.facts.snd_wscale | conn.facts.rcv_wscale << 4
    conn.server.send(b"first")
    first = conn.next(lambda one: one.out, "the heir's first segment")
    assert (first.seq, first.ack, first.payload) == (conn.snd, conn.rcv, b"first")
    assert (first.tsval is not None) == timestamps
    assert conn.client.recv(100) == b"first"
    exchange(conn)


def leave_time_wait(conn):
    """The server's side closes first and waits; the client's port is free again."""
    conn.server.shutdown(socket.SHUT_WR)
    wait_until(lambda: repair.info(conn.server, "state") == FIN_WAIT2, what="FIN_WAIT2")
    conn.client.close()
    conn.server.close()
    conn.settle()


def far_end(conn):
    host, port = conn.peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp_states(conn):
    """States, as `ss` names them, of this connection's sockets at the server."""
    with conn.link.server:
        listed = run("ss", "-tanH", "dst", far_end(conn))
    return [line.split()[0] for line in listed.splitlines()]


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no-timestamps"])
def test_time_wait_with_timestamps_gives_way_to_a_rebuild_and_sock_destroy_removes_any(connect, family, timestamps):
    """A client that came back to this PoP from a port whose earlier connection waits here: connect() in repair mode takes a TIME_WAIT's
    place only if that had timestamps (tcp_twsk_unique); any other has to be destroyed first (SOCK_DESTROY, tcp_abort)."""
    conn = connect(family, timestamps=timestamps)
    leave_time_wait(conn)
    assert tcp_states(conn) == ["TIME-WAIT"]
    facts = repair.Facts(snd=5_000_000, rcv=add(conn.rcv, 7_000_000), timestamps=timestamps)
    with conn.link.server:
        refused = repair.refusal(lambda: conn.keep(repair.rebuild(conn.local, conn.peer, facts, 1_000_000)))
        assert refused == (None if timestamps else "EADDRNOTAVAIL")
        if timestamps:
            assert tcp_states(conn) == ["ESTAB"]
            return
        run("ss", "-K", "state", "time-wait", "dst", far_end(conn))
        assert tcp_states(conn) == []
        conn.server = conn.keep(repair.rebuild(conn.local, conn.peer, facts, 1_000_000))
    assert tcp_states(conn) == ["ESTAB"]


def test_facts_at_accept_are_the_clients_options(connect, family):
    """'Reads ISS, IRS, options': TCP_INFO's scales and MSS are those of the handshake on the wire."""
    conn = connect(family)
    seen = conn.tap.upto(lambda one: getattr(one, "flags", 0) == ACK, "the handshake", port=conn.port)
    syn, syn_ack = [one for one in seen if one.flags & SYN]
    assert (conn.irs, conn.iss) == (syn.seq, syn_ack.seq)
    assert (conn.facts.snd_wscale, conn.facts.rcv_wscale) == (syn.wscale, syn_ack.wscale)
    assert conn.facts.mss == min(syn.mss, syn_ack.mss)


def test_clients_unacknowledged_bytes_arrive_once_after_a_rebuild(connect, family):
    """[L, S) with the client unacknowledged: its retransmission feeds the rebuilt socket, each byte once."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.die()
    noise = os.urandom(5000)
    conn.client.sendall(noise)
    strays = [one for one in conn.from_client() if one.payload]
    assert repair.unacked_bytes(conn.client) == 5000
    conn.rebuild()
    with_held_stray = conn.link.client_tap()
    with_held_stray.emit(again(strays[0]))  # a held stray; the rest is up to the client's own retransmission
    with_held_stray.close()
    assert conn.read(conn.server, 5000) == noise
    wait_until(lambda: repair.unacked_bytes(conn.client) == 0, what="all acknowledged")
    assert repair.unread_bytes(conn.server) == 0


def test_clients_unread_bytes_are_not_disturbed_by_a_rebuild(connect, family):
    """c is what the client's *kernel* has: bytes that its application has not read yet stay, the heir's follow them."""
    conn = connect(family)
    conn.server.sendall(b"old" * 1000)
    wait_until(lambda: repair.unacked_bytes(conn.server) == 0, what="acknowledged, not read")
    conn.snd = add(conn.snd, 3000)
    conn.die()
    conn.rebuild()
    conn.server.sendall(b"new" * 1000)
    assert conn.read(conn.client, 6000) == b"old" * 1000 + b"new" * 1000


def test_owners_bytes_in_flight_beyond_the_cursor_are_replaced_by_identical_ones(connect, family):
    """What the old owner sent beyond a hole stays in the client's queue; the heir fills the hole and the stream is whole."""
    conn = connect(family)
    conn.say(b"A" * 10)
    conn.die()
    noise = os.urandom(3000)
    conn.emit(add(conn.snd, 1000), tsval=conn.clock + 1, payload=noise[1000:2000])
    conn.settle()
    conn.rebuild()
    conn.server.sendall(noise)
    assert conn.read(conn.client, 3000) == noise
    wait_until(lambda: repair.unacked_bytes(conn.server) == 0, what="all acknowledged")


def test_zero_window_client_answers_and_the_rebuilt_socket_resumes_when_it_opens(connect, family):
    """Healing a client that does not read: the probe's answer says window 0, the socket is rebuilt with it, and the client's window
    update starts it."""
    conn = connect(family, rcvbuf=4096)
    conn.server.setblocking(False)
    sent = 0
    while True:
        try:
            sent += conn.server.send(b"o" * 1000)
        except BlockingIOError:
            closed = conn.next(lambda one: not one.out and one.win == 0, "a closed window")
            break
    conn.die()
    answer = conn.answer(add(conn.iss, -1), tsval=conn.clock, payload=b"\0")
    assert (answer.win, answer.seq) == (0, conn.rcv) and diff(answer.ack, closed.ack) >= 0
    conn.snd = answer.ack
    conn.rebuild(snd_wnd=0)
    conn.server.send(b"NEW")
    assert not [one for one in conn.from_server() if one.payload], "data against a closed window"
    old = diff(conn.snd, conn.iss) - 1
    assert conn.read(conn.client, old + 3) == b"o" * old + b"NEW"


@pytest.mark.parametrize("side", ["out", "in", "both"])
def test_sequence_wrap_around_a_rebuild(connect, family, side):
    """Sequence space: ISNs near 2^32, so that c, L and S lie on both sides of the wrap."""
    near = 0xFFFFFF00
    conn = connect(family, kind=Forged, iss=near if side != "in" else 5000, irs=near if side != "out" else 6000)
    conn.say(b"A" * 200)
    conn.hear(b"a" * 200)
    conn.die()
    answer = conn.answer(add(conn.iss, -1), tsval=conn.clock, payload=b"\0")
    assert (answer.ack, answer.seq) == (conn.snd, conn.rcv)
    conn.rebuild()
    conn.say(b"B" * 200)
    conn.hear(b"b" * 200)
    conn.die()
    answer = conn.fence((conn.clock + (1 << 22)) & ~1)
    assert (answer.ack, answer.seq, answer.tsecr) == (conn.snd, conn.rcv, (conn.clock + (1 << 22)) & ~1)
    assert conn.snd < 1000 or side == "in"
    assert conn.rcv < 1000 or side == "out"
    conn.rebuild(tsval=(conn.clock + (1 << 22) + 2) & ~1)
    exchange(conn)


@pytest.mark.parametrize("gap", [14_000, 200_000])
def test_a_socket_rebuilt_at_a_stale_ack_makes_no_progress(connect, gap):
    """c is the ACK of the answer to our own probe or fence, never that of a chance packet (e6)."""
    conn = connect()
    for _ in range(10):
        conn.say(b"x" * 30_000)
    conn.die()
    conn.rebuild(snd=add(conn.snd, -gap))
    conn.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    conn.server.setblocking(False)
    written = conn.server.send(b"y" * (2 * gap + 100_000))
    wait_until(lambda: repair.info(conn.server, "backoff") >= 2, what="retransmission timeouts")
    conn.settle()
    assert repair.unacked_bytes(conn.server) == written and repair.info(conn.server, "bytes_acked") == 0


def test_rebuilt_socket_refuses_a_blind_rst(connect, family):
    """Threats, blind spoofer: an RST that is in the window but not at RCV.NXT gets a challenge ACK (RFC 5961 3.2), also after a rebuild."""
    conn = connect(family)
    conn.die()
    conn.rebuild()
    tap = conn.link.client_tap()
    tap.emit(tcp_packet(conn.peer[0], conn.local[0], conn.peer[1], conn.port, add(conn.rcv, 100), conn.snd, flags=RST))
    challenge, = conn.from_server()
    tap.close()
    assert challenge.pure_ack and challenge.ack == conn.rcv
    conn.server.send(b"alive")
    assert conn.client.recv(100) == b"alive"


@pytest.mark.parametrize("rebuilt", [False, True], ids=["accepted", "rebuilt"])
def test_a_syn_for_a_living_flow_gets_a_challenge_ack(connect, family, rebuilt):
    """Rung 3: 'The map names a living owner of this very key: VXLAN (it answers with a challenge ACK)' (RFC 5961 4). The flow goes on."""
    conn = connect(family)
    conn.say(b"A" * 100)
    if rebuilt:
        conn.die()
        conn.rebuild()
    conn.settle()
    tap = conn.link.client_tap()
    tap.emit(tcp_packet(conn.peer[0], conn.local[0], conn.peer[1], conn.port, 12345, 0, flags=SYN))
    challenge, = conn.from_server()
    tap.close()
    assert (challenge.pure_ack, challenge.seq, challenge.ack) == (True, conn.snd, conn.rcv)
    conn.say(b"alive")
    conn.hear(b"alive")


def test_listener_and_rebuilt_socket_share_the_port(connect, family):
    """The rebuilt socket takes its flow's packets, the listener beside it new SYNs."""
    conn = connect(family)
    conn.die()
    conn.rebuild()
    conn.hear(b"old flow")
    with conn.link.client:
        fresh = socket.create_connection((conn.local[0], conn.port), timeout=10)
    taken, _ = conn.listener.accept()
    fresh.send(b"new flow")
    assert taken.recv(100) == b"new flow"
    repair.close_silently(taken)
    fresh.close()
