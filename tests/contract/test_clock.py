"""The slot clock: TCP_TIMESTAMP, the client's echo, and what the kernel does with both (PROTOCOL.md, 'Slot clock', 'Slot')."""
import time

import pytest

import repair
from netns import wait_until
from wire import ACK, SYN, Segment, add, diff


def tsval_of(conn, data=b"x"):
    """The TSval of the owner's next data segment."""
    conn.settle()
    conn.server.send(data)
    return conn.next(lambda one: one.out and one.payload, "the owner's data").tsval


def ticks(conn):
    """(TSval ticks, lower and upper bound of ms) between two data segments at least 20 ms apart."""
    before = time.monotonic()
    first = tsval_of(conn)
    sent = time.monotonic()
    wait_until(lambda: time.monotonic() - sent > 0.02, what="20 ms")
    resent = time.monotonic()
    last = tsval_of(conn)
    after = time.monotonic()
    return diff(last, first), (resent - sent) * 1e3, (after - before) * 1e3


def test_an_even_timestamp_keeps_milliseconds(connect, family):
    """'Always even': one tick a millisecond, so a slot of 7/8 × 2^20 lasts for 15 minutes."""
    conn = connect(family)
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), 5 << 20) & ~1)
    moved, least, most = ticks(conn)
    assert least - 2 <= moved <= most + 2


@pytest.mark.kernel(6, 7, why="bit 0 of TCP_TIMESTAMP means microseconds")
def test_an_odd_timestamp_switches_the_socket_to_microseconds(connect, family):
    """'Always even: bit 0 of TCP_TIMESTAMP means microseconds since 6.7': an odd value leaves its slot within a second."""
    conn = connect(family)
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), 5 << 20) | 1)
    moved, least, most = ticks(conn)
    assert (least - 2) * 1000 <= moved <= (most + 2) * 1000


def test_the_jump_is_on_the_wire_at_once_and_the_client_echoes_it(connect, family):
    """Idea 6: after accept every segment carries the slot, and so does every packet of the client that has seen one."""
    conn = connect(family)
    slot = add(repair.read_clock(conn.server), 7 << 20) & ~1
    repair.set_clock(conn.server, slot)
    assert 0 <= diff(tsval_of(conn), slot) < 1 << 20
    assert conn.client.recv(10) == b"x"
    conn.client.send(b"q")
    echo = conn.next(lambda one: not one.out and one.payload == b"q", "the client's data").tsecr
    assert 0 <= diff(echo, slot) < 1 << 20


def test_before_our_first_segment_the_client_echoes_the_syn_ack(connect, family):
    """Side ways, 'its echo is still the SYN-ACK's': a jump at accept shows only after a segment of ours."""
    conn = connect(family)
    handshake = conn.tap.upto(lambda one: isinstance(one, Segment) and one.flags == SYN | ACK, "the SYN-ACK", port=conn.port)
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), 7 << 20) & ~1)
    conn.client.send(b"q")
    assert conn.next(lambda one: not one.out and one.payload, "the client's data").tsecr == handshake[-1].tsval


def test_getsockopt_and_wire_show_the_same_clock_but_for_bit_0(connect, family):
    """TCP_TIMESTAMP read in repair mode is the TSval that the socket sends, bit 0 replaced by the unit (since 6.7): up to 1 ms too low."""
    conn = connect(family)
    before = repair.read_clock(conn.server)
    seen = tsval_of(conn)
    assert diff(seen, before) >= 0 and diff(repair.read_clock(conn.server), seen) >= -1


@pytest.mark.kernel(6, 7, why="bit 0 of TCP_TIMESTAMP means microseconds")
def test_reading_the_clock_of_a_millisecond_socket_gives_an_even_number(connect):
    """'Always even': a value read back can be set again without a change of unit. Eight readings on different milliseconds."""
    conn = connect()
    seen = set()
    wait_until(lambda: seen.add(repair.read_clock(conn.server)) or len(seen) >= 8, what="eight values")
    assert all(value % 2 == 0 for value in seen)


def test_the_timestamp_clock_is_clock_monotonic_plus_an_offset(connect, family):
    """Slot clock: CLOCK_MONOTONIC ms + offset. Two sockets with one offset stay together, whatever wall time does."""
    conn = connect(family)
    repair.set_clock(conn.server, 2_000_000)
    low = int(time.monotonic() * 1e3)
    offset = 2_000_000 - low
    wait_until(lambda: time.monotonic() * 1e3 > low + 30, what="30 ms")
    before = int(time.monotonic() * 1e3)
    value = repair.read_clock(conn.server)
    after = int(time.monotonic() * 1e3)
    assert before + offset - 8 <= value <= after + offset + 8


@pytest.mark.parametrize("jump", [1 << 20, 5 << 20, 1 << 28])
def test_a_jump_at_accept_disturbs_neither_rtt_nor_rto(connect, jump):
    """KERNEL.md: echoes of the SYN-ACK after the jump are older than anything sent since; the kernel makes no RTT of them."""
    conn = connect()
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), jump) & ~1)
    for _ in range(3):
        conn.hear(b"u" * 5000)
        conn.say(b"d" * 1000)
    assert repair.info(conn.server, "rtt") < 5_000_000, "µs"
    assert repair.info(conn.server, "rto") < 20_000_000, "µs"
    assert repair.info(conn.client, "rtt") < 5_000_000, "µs"


def test_an_offset_put_back_kills_the_session(connect, family):
    """'Leave the offset (going back kills the session)': the client refuses everything from then on (x5)."""
    conn = connect(family)
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), 5 << 20) & ~1)
    conn.say(b"x")
    repair.set_clock(conn.server, add(repair.read_clock(conn.server), -(5 << 20)) & ~1)
    conn.server.send(b"yyyy")
    wait_until(lambda: repair.info(conn.server, "total_retrans") >= 1, what="a retransmission")
    conn.settle()
    assert (repair.unread_bytes(conn.client), repair.unacked_bytes(conn.server)) == (0, 4)


def test_keep_alives_do_not_refresh_the_clients_echo_and_a_garbage_byte_does(connect, family):
    """'An echo can only be late': an idle client's echo is as old as the last segment it accepted; a kernel's keep-alive (no byte,
    snd_nxt - 1) is answered with the old echo, one garbage byte there refreshes it (e1)."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.die()
    later = add(conn.clock, 5000)
    answer = conn.answer(add(conn.snd, -1), tsval=later)
    assert diff(answer.tsecr, later) < 0
    answer = conn.answer(add(conn.snd, -1), tsval=later, payload=b"\0")
    assert answer.tsecr == later


def test_a_rebuilt_socket_continues_from_the_timestamp_it_was_given(connect, family):
    """Order for TCP_REPAIR: TCP_TIMESTAMP 'above the TSecr the client echoes, even'."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.die()
    given = add(conn.clock, 9 << 20) & ~1
    conn.rebuild(tsval=given)
    assert 0 <= diff(tsval_of(conn), given) < 1 << 20


def test_a_rebuilt_socket_below_the_clients_echo_is_refused(connect, family):
    """The same rule taken away: the heir's bytes count as old."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.die()
    conn.rebuild(tsval=add(conn.clock, -10_000_000) & ~1)
    conn.server.send(b"refused")
    conn.settle()
    assert repair.unread_bytes(conn.client) == 0


def test_a_rebuilt_socket_echoes_zero_until_it_hears_the_client(connect, family):
    """TCP_REPAIR carries no ts_recent: the first segments have TSecr 0 unless a stray is fed first. Linux takes them."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.die()
    conn.rebuild()
    conn.server.send(b"x")
    assert conn.next(lambda one: one.out and one.payload, "the heir's data").tsecr == 0
    conn.next(lambda one: not one.out, "the client's ACK")
    conn.server.send(b"y")
    assert conn.next(lambda one: one.out and one.payload == b"y", "the heir's data").tsecr != 0


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
def test_last_ack_recv_is_fresh_in_uploads_and_silent_downloads(connect, upload):
    """Egress rule 4, the lease: rcv_tstamp (tcpi_last_ack_recv) moves with every segment of the client, data to a silent owner and
    pure ACKs of a download alike (x7)."""
    conn = connect()
    conn.hear(b"u" * 3000)
    wait_until(lambda: repair.info(conn.server, "last_ack_recv") >= 40, what="an age of 40 ms")
    for _ in range(12):
        asked = time.monotonic()
        (conn.hear if upload else conn.say)(b"m")
        age = repair.info(conn.server, "last_ack_recv")
        assert age <= (time.monotonic() - asked) * 1e3 + 12, "ms; 12: three jiffies at HZ 250"
        wait_until(lambda: repair.info(conn.server, "last_ack_recv") >= 16, what="an age of 16 ms")
