"""What tc sees of sockets at ingress and egress (PROTOCOL.md, Ingress rung 4, Egress; x1)."""
import socket

import pytest

import repair
from link import CLIENT, MARK, VIP
from netns import wait_until
from observer import CLOSE, FIN_WAIT1, FIN_WAIT2, FULL, LISTEN, NEW_SYN_RECV, NO_SOCKET, NOT_FULL, TIME_WAIT
from wire import ACK, FIN, PSH, RST, SYN, add, diff, tcp_packet

ESTABLISHED = 1


@pytest.fixture
def outside(link):
    """outside(family, sport, dport, seq, ack, flags): a packet of a client elsewhere; the owner's segments to it in answer."""
    at_client, at_server = link.client_tap(), link.server_tap()

    def send(family, sport, dport, seq, ack, flags=ACK, **more):
        at_server.barrier(VIP[family], CLIENT[family])
        at_client.emit(tcp_packet(CLIENT[family], VIP[family], sport, dport, seq, ack, flags=flags, **more))
        return [one for one in at_server.barrier(VIP[family], CLIENT[family], port=sport) if one.out]
    yield send
    at_client.close()
    at_server.close()


def one_event(events, **wanted):
    found = [one for one in events if all(getattr(one, name) == value for name, value in wanted.items())]
    assert len(found) == 1, f"{wanted} once, in {events}"
    return found[0]


def test_a_handshake_shows_listener_request_and_established_sockets(connect, observer, family):
    """Rung 4 and rung 3: LISTEN for the SYN, the request socket with snt_isn for the ACK; a SYN-ACK leaves with the request socket."""
    conn = connect(family)
    conn.hear(b"x")
    seen = observer.events(conn.port)
    assert one_event(seen, out=0, flags=SYN).state == LISTEN
    syn_ack = one_event(seen, out=1, flags=SYN | ACK)
    assert (syn_ack.kind, syn_ack.state) == (NOT_FULL, NEW_SYN_RECV)
    ack = one_event(seen, out=0, flags=ACK, ack=add(conn.iss, 1), seq=add(conn.irs, 1))
    assert (ack.state, ack.snt_isn) == (NEW_SYN_RECV, conn.iss), "pass only if ACK = snt_isn + 1"
    data = one_event(seen, out=0, flags=PSH | ACK)
    assert (data.kind, data.state, data.dead) == (FULL, ESTABLISHED, 0)


def test_a_stray_finds_the_listener_and_its_rst_leaves_with_the_listener(connect, observer, outside, family):
    """Egress rule 2: 'RSTs come with the listener or no socket at all', without a mark: the rule looks at header and skb->mark only."""
    conn = connect(family, muted=False)
    rst, = outside(family, 9999, conn.port, 1000, 2000)
    assert rst.flags & RST
    seen = observer.events(9999)
    assert one_event(seen, out=0).state == LISTEN
    event = one_event(seen, out=1, flags=RST)
    older = ((FULL, CLOSE), (NO_SOCKET, 0))  # a control socket, or none
    assert event.mark == 0 and (event.kind, event.state) in ((FULL, LISTEN), *older)


def test_an_rst_of_a_port_without_listener_leaves_without_a_flows_socket(observer, link, outside, family):
    """The same with nobody listening: IPv4's control socket or none, so no state of a flow and no mark to go by."""
    sport, port = link.elsewhere(), link.port(muted=False)
    rst, = outside(family, sport, port, 1000, 2000)
    assert rst.flags & RST
    event = one_event(observer.events(sport), out=1, flags=RST)
    assert event.mark == 0 and (event.kind, event.state) in ((FULL, CLOSE), (NO_SOCKET, 0))


@pytest.mark.parametrize("reflect", [0, 1])
def test_an_rst_carries_the_strays_mark_only_with_fwmark_reflect(connect, link, observer, outside, sysctl, family, reflect):
    """'With the RST mark (net.ipv4.fwmark_reflect, or a raw socket)' (e3); IPv6 has a switch of its own."""
    sysctl("server", f"net.ipv{family}.fwmark_reflect", reflect)
    conn = connect(family, muted=False)
    sport = link.elsewhere()
    link.server.nft("add table inet marker; add chain inet marker in { type filter hook prerouting priority -300; };"
                    f"add rule inet marker in tcp sport {sport} meta mark set {MARK}")
    rst, = outside(family, sport, conn.port, 1000, 2000)
    link.server.nft("delete table inet marker")
    assert rst.flags & RST
    assert one_event(observer.events(sport), out=1, flags=RST).mark == (MARK if reflect else 0)


def test_a_valid_syn_cookie_finds_only_the_listener_and_check_says_0(connect, observer, outside, sysctl, family):
    """Rung 4, LISTEN: 'an ACK, and bpf_tcp_check_syncookie = 0 -> pass'; any other number is negative."""
    sysctl("server", "net.ipv4.tcp_syncookies", 2)
    conn = connect(family)
    ack = one_event(observer.events(conn.port), out=0, flags=ACK, state=LISTEN)
    assert (ack.cookie, ack.ack) == (0, add(conn.iss, 1))
    observer.clear()
    outside(family, 9998, conn.port, 1000, 2000)
    stray = one_event(observer.events(9998), out=0)
    assert stray.state == LISTEN and stray.cookie < 0


def test_without_cookies_in_use_the_check_refuses_every_ack(connect, observer, outside, sysctl, family):
    """The same rung on an ordinary day: a stray at a listener that never sent a cookie is a stray (-ENOENT)."""
    sysctl("server", "net.ipv4.tcp_syncookies", 1)
    conn = connect(family)
    outside(family, 9997, conn.port, 1000, 2000)
    assert one_event(observer.events(9997), out=0).cookie < 0


def test_a_stray_syn_makes_a_request_socket_that_swallows_or_resets_the_flow(connect, link, observer, outside, family):
    """Rung 4, 'request socket -> pass only if ACK = snt_isn + 1' (e9): a copy of a SYN that reached this PoP hides the flow that is owned
    elsewhere. Its mid-flow packets find the request socket, and the kernel answers instead of the owner."""
    conn = connect(family, muted=False)
    sport = link.elsewhere()
    syn_ack, = outside(family, sport, conn.port, 999, 0, SYN)
    assert syn_ack.flags == SYN | ACK
    observer.clear()
    answers = outside(family, sport, conn.port, 1000, 77777, ACK)
    found = one_event(observer.events(sport), out=0)
    assert found.state == NEW_SYN_RECV and found.snt_isn == syn_ack.seq != 77776
    assert [one.flags & RST for one in answers] == [RST], "the flow would end here"
    observer.clear()
    outside(family, sport, conn.port, 100_000, 77777, PSH | ACK, payload=b"mid-flow")
    assert one_event(observer.events(sport), out=0, flags=PSH | ACK).state == NEW_SYN_RECV, "and goes on hiding it"


def test_a_marked_sockets_segments_carry_the_mark(connect, observer, family):
    """Egress rule 2, 'two bits of a mark': SO_MARK is on every later segment of the socket, FIN included."""
    conn = connect(family)
    conn.server.setsockopt(socket.SOL_SOCKET, repair.SO_MARK, MARK)
    conn.server.send(b"x")
    conn.server.shutdown(socket.SHUT_WR)
    conn.settle()
    marks = {one.flags & FIN: one.mark for one in observer.events(conn.port) if one.out and one.flags & PSH or one.flags & FIN}
    assert set(marks.values()) == {MARK} and FIN in marks


def test_a_mark_set_before_a_half_close_lets_a_later_rst_out(connect, observer, family):
    """'One bit set before a half-close would let a later RST out' (e3): hence two bits, one for FIN and one for RST."""
    conn = connect(family, muted=False)
    conn.server.setsockopt(socket.SOL_SOCKET, repair.SO_MARK, MARK)
    conn.server.shutdown(socket.SHUT_WR)
    conn.client.send(b"upload")
    conn.settle()
    conn.server.close()  # as the kernel does for a killed process: unread data, so RST
    conn.settle()
    rsts = [one for one in observer.events(conn.port) if one.out and one.flags & RST]
    assert rsts and {one.mark for one in rsts} == {MARK}


def closed_by_us(conn, mark=0):
    """The owner's side is TIME_WAIT."""
    if mark:
        conn.server.setsockopt(socket.SOL_SOCKET, repair.SO_MARK, mark)
    conn.server.shutdown(socket.SHUT_WR)
    wait_until(lambda: repair.info(conn.server, "state") == FIN_WAIT2, what="FIN_WAIT2")
    conn.client.shutdown(socket.SHUT_WR)
    conn.server.close()
    conn.settle()


def test_time_wait_is_found_at_ingress_and_answers_with_the_sockets_mark(connect, observer, outside, family):
    """Rung 4, TIME_WAIT; egress: its ACK comes with a socket that is not full, and with tw_mark."""
    conn = connect(family)
    closed_by_us(conn, MARK)
    observer.clear()
    answer, = outside(family, conn.peer[1], conn.port, conn.rcv, conn.snd, payload=b"old")
    assert answer.pure_ack
    seen = observer.events(conn.port)
    assert one_event(seen, out=0, flags=ACK).state == TIME_WAIT
    event = one_event(seen, out=1)
    assert (event.kind, event.state, event.mark) == (NOT_FULL, TIME_WAIT, MARK)


def test_a_socket_without_owner_is_sock_dead_and_unmarked(connect, observer, family):
    """'An unmarked orphan (SOCK_DEAD)': readable in skc_flags at ingress and egress, in FIN_WAIT1 with data left to send."""
    conn = connect(family, rcvbuf=4096)
    conn.server.setblocking(False)
    while repair.refusal(conn.server.send, b"x" * 1000) is None:
        pass
    conn.settle()
    conn.server.close()
    observer.clear()
    assert conn.client.recv(1 << 20)
    conn.next(lambda one: one.out and one.payload, "more of the orphan's data")
    conn.settle()
    seen = observer.events(conn.port)
    for out in (0, 1):
        found = [one for one in seen if one.out == out]
        assert found and {(one.kind, one.state, one.dead, one.mark) for one in found} == {(FULL, FIN_WAIT1, 1, 0)}, out


def test_tsoffset_plus_clock_monotonic_is_the_tsval(connect, observer, family):
    """'Replaced' and the hint compare echoes with (clock + the socket's tsoffset): at egress that sum is the TSval, also after a jump."""
    conn = connect(family)
    for jump in (0, 7 << 20):
        repair.set_clock(conn.server, add(repair.read_clock(conn.server), jump) & ~1)
        conn.settle()
        observer.clear()
        conn.server.send(b"x")
        tsval = conn.next(lambda one: one.out and one.payload, "data").tsval
        conn.settle()
        event = [one for one in observer.events(conn.port) if one.out and one.flags & PSH][0]
        assert -5000 <= diff(tsval, add(event.now_ms, event.tsoffset)) <= 1, "ms; taken before tc runs, at worst long before"


def test_tsoffset_is_readable_at_ingress(connect, observer, family):
    """The same at ingress, where 'replaced' is decided: the echo of an idle client lies behind clock + tsoffset, never ahead."""
    conn = connect(family)
    conn.say(b"x")
    observer.clear()
    conn.client.send(b"q")
    echo = conn.next(lambda one: not one.out and one.payload, "the client's data").tsecr
    conn.settle()
    event = one_event(observer.events(conn.port), out=0, flags=PSH | ACK)
    assert -60_000 <= diff(echo, add(event.now_ms, event.tsoffset)) <= 1


def test_rcv_tstamp_is_in_jiffies_and_moves_with_the_clients_packets(connect, observer, family):
    """Egress rule 4: 'client silent to us for longer than the lease (rcv_tstamp)': jiffies of its last packet, read in tc."""
    conn = connect(family)
    conn.hear(b"x")
    wait_until(lambda: repair.info(conn.server, "last_ack_recv") >= 40, what="40 ms of silence")
    conn.settle()
    observer.clear()
    conn.server.send(b"y")
    conn.next(lambda one: not one.out, "the client's ACK")
    conn.settle()
    conn.server.send(b"z")
    conn.settle()
    before, after = [one for one in observer.events(conn.port) if one.out and one.flags & PSH]
    assert diff(before.jiffies, before.rcv_tstamp) >= 3, "40 ms, HZ at least 100"
    assert diff(after.rcv_tstamp, before.rcv_tstamp) > 0
    assert diff(after.rcv_tstamp, before.jiffies) >= 0
