"""The probe: one garbage byte that the client has long acknowledged (PROTOCOL.md, 'Probe, fence, claim'; RFC 9293 3.10.7.4)."""
import socket
import struct

import pytest

import repair
from netns import wait_until
from wire import ACK, RST, add, diff


def owned(connect, family=4, **options):
    """A connection with 1000 bytes out, 500 bytes in, everything acknowledged, its owner dead."""
    conn = connect(family, **options)
    conn.say(b"A" * 1000)
    conn.hear(b"a" * 500)
    return conn.die()


WHERE = {"acked-2": lambda conn: add(conn.snd, -2), "ISS-1": lambda conn: add(conn.iss, -1), "c-1": lambda conn: add(conn.snd, -1)}


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no-timestamps"])
@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
def test_a_client_always_answers_a_garbage_byte_with_cursor_and_seq(connect, family, where, timestamps):
    """'A Linux client always answers a data byte', with a pure ACK whose ACK is c and whose SEQ is S: no rate limit."""
    conn = owned(connect, family, timestamps=timestamps)
    for step in range(5):
        answer = conn.answer(where(conn), tsval=conn.clock + step if timestamps else None, payload=b"\0")
        assert (answer.ack, answer.seq, answer.pure_ack) == (conn.snd, conn.rcv, True)
        assert (answer.tsecr is not None) == timestamps


def test_nothing_acknowledged_yet_probe_below_iss_is_answered(connect, family):
    """'ISS - 1 while nothing is acknowledged': a flow on which the owner has not sent a byte."""
    conn = connect(family).die()
    answer = conn.answer(add(conn.iss, -1), tsval=conn.clock, payload=b"\0")
    assert (answer.ack, answer.seq) == (add(conn.iss, 1), add(conn.irs, 1))


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
def test_the_garbage_byte_never_reaches_the_application(connect, family, where):
    """Same rule: the next byte that the application reads is the heir's."""
    conn = owned(connect, family)
    for _ in range(3):
        conn.answer(where(conn), tsval=conn.clock, payload=b"\0")
    assert repair.unread_bytes(conn.client) == 0
    conn.rebuild()
    conn.server.send(b"clean")
    assert conn.client.recv(100) == b"clean"


def test_a_stale_timestamp_does_not_silence_the_garbage_byte(connect, family):
    """A probe whose clock lags behind the fence of another is still answered (PAWS refuses it with an ACK; RFC 7323 5.3 R1)."""
    conn = owned(connect, family)
    for _ in range(3):
        answer = conn.answer(add(conn.snd, -2), tsval=conn.clock - 10_000, payload=b"\0")
        assert (answer.ack, answer.seq) == (conn.snd, conn.rcv)


def test_the_second_pure_ack_within_the_rate_limit_is_not_answered(connect, sysctl):
    """'Pure ACKs are rate-limited': tcp_invalid_ratelimit, 500 ms unless set. It exempts data (tcp_oow_rate_limited)."""
    assert int(connect().link.client.sysctl("net.ipv4.tcp_invalid_ratelimit")) == 500
    sysctl("client", "net.ipv4.tcp_invalid_ratelimit", 600_000)  # a slow machine must not let it lapse
    conn = owned(connect)
    below = {"seq": add(conn.iss, 0), "tsval": conn.clock}
    assert [len(conn.answers(**below)) for _ in range(3)] == [1, 0, 0]
    assert len(conn.answers(**below, payload=b"\0")) == 1


@pytest.mark.kernel(6, 14, why="before, it is answered under the rate limit: tcp_disordered_ack_check")
def test_an_old_pure_ack_with_a_stale_timestamp_is_ignored(connect, sysctl):
    """'... or ignored': already the first one, as from a probe without data after another's fence (e1)."""
    sysctl("client", "net.ipv4.tcp_invalid_ratelimit", 0)  # no rate limit to hide behind
    conn = owned(connect)
    assert conn.answers(conn.iss, tsval=conn.clock - 100) == []
    assert len(conn.answers(conn.iss, tsval=conn.clock - 100, payload=b"\0")) == 1


def test_a_probe_below_the_cursor_is_no_fence_and_one_at_c_minus_1_is(connect, family):
    """Table row SEQ: `acked` - 2 for a probe, c - 1 for a fence (tcp_sequence refuses what ends below rcv_wup before ts_recent is set)."""
    conn = owned(connect, family)
    for seq in (add(conn.iss, -1), add(conn.snd, -2)):
        later = conn.clock + (1 << 20)
        assert diff(conn.answer(seq, tsval=later, payload=b"\0").tsecr, later) < 0
    later = conn.clock + (1 << 20)
    assert conn.answer(add(conn.snd, -1), tsval=later, payload=b"\0").tsecr == later


def test_a_probe_at_iss_on_a_silent_flow_is_a_fence(connect, family):
    """Why a probe of a flow without a byte out goes to ISS - 1 and not to ISS (e1)."""
    conn = connect(family).die()
    later = conn.clock + 1000
    assert conn.answer(conn.iss, tsval=later, payload=b"\0").tsecr == later
    conn = connect(family).die()
    assert conn.answer(add(conn.iss, -1), tsval=conn.clock + 1000, payload=b"\0").tsecr != conn.clock + 1000


def test_a_byte_at_a_position_that_was_only_sent_reaches_the_application(connect, family):
    """'Never a position that was only sent: the byte would reach the application' (x5)."""
    conn = owned(connect, family)
    conn.emit(conn.snd, tsval=conn.clock, payload=b"\0")
    assert conn.client.recv(10) == b"\0"


def test_a_byte_beyond_a_hole_is_kept_and_read_when_the_hole_is_filled(connect, family):
    """The same with c 500 behind: the garbage byte is reported by SACK, kept, and read after the 500 right ones."""
    conn = owned(connect, family)
    answer = conn.answer(add(conn.snd, 500), tsval=conn.clock, payload=b"\0")
    assert answer.sack == [(add(conn.snd, 500), add(conn.snd, 501))]
    conn.emit(conn.snd, tsval=conn.clock, payload=b"B" * 500)
    assert conn.read(conn.client, 501) == b"B" * 500 + b"\0"


@pytest.mark.parametrize("offered", [0, 1, 3])
def test_seq_of_the_answer_is_clipped_to_the_window_it_was_offered(connect, family, offered):
    """'An answer whose SEQ equals ACK + window of our own segment is not a value for S' (tcp_acceptable_seq, x5)."""
    conn = connect(family)
    conn.say(b"A" * 1000)
    conn.die()
    conn.client.sendall(b"u" * 12_000)
    answer = conn.answer(add(conn.snd, -1), tsval=conn.clock, payload=b"\0", win=offered)
    assert (answer.pure_ack, answer.seq) == (True, add(conn.rcv, offered << conn.facts.rcv_wscale)), "12000 bytes were sent"


def test_a_window_is_not_taken_from_below_the_last_segment(connect, family):
    """Why clipping is not certain either: the client takes a window only from a segment that does not begin below the last one that gave it
    one (SND.WL1, RFC 9293 3.10.7.4). After a pure ACK at c, a byte at c - 1 cannot shrink it, and S is true."""
    conn = owned(connect, family)
    conn.client.sendall(b"u" * 12_000)
    assert conn.answer(add(conn.snd, -1), tsval=conn.clock, payload=b"\0", win=1).seq == add(conn.rcv, 12_000)


@pytest.mark.parametrize("wscale", [True, False], ids=["wscale", "no-wscale"])
def test_window_65535_does_not_clip_s(connect, family, wscale):
    """'Therefore our segments offer 65535': S is true as long as S - L stays below 65535 << scale (64 kB without scaling)."""
    conn = owned(connect, family, wscale=wscale)
    conn.client.sendall(b"u" * 12_000)
    answer = conn.answer(add(conn.snd, -1), tsval=conn.clock, payload=b"\0")
    assert answer.pure_ack and answer.seq == add(conn.rcv, 12_000)


def test_a_probe_does_not_move_the_clients_timestamp_echo(connect, family):
    """A probe by a node that may be wrong must not change who the client's echo names (hint)."""
    conn = owned(connect, family)
    conn.answer(add(conn.snd, -2), tsval=conn.clock + 100_000, payload=b"\0")
    conn.client.send(b"q")
    data = conn.next(lambda one: not one.out and one.payload == b"q", "the client's data")
    assert diff(conn.clock + 100_000, data.tsecr) > 0


def test_a_byte_without_timestamps_is_answered_too_by_linux(connect):
    """FreeBSD >= 13 would drop it, so every segment of ours carries timestamps; Linux takes it (no RFC 7323 3.2 check)."""
    conn = owned(connect)
    answer = conn.answer(add(conn.snd, -2), payload=b"\0", flags=ACK)
    assert (answer.ack, answer.seq) == (conn.snd, conn.rcv)


def test_a_client_that_is_gone_answers_with_an_rst_at_our_ack(connect, family):
    """'An RST whose SEQ equals the ACK of our recent probe ends the record' (RFC 9293 3.10.7.1): no socket there any more."""
    conn = owned(connect, family)
    conn.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.client.close()
    conn.settle()
    gone, = conn.answers(add(conn.snd, -2), tsval=conn.clock, payload=b"\0")
    assert (gone.flags & RST, gone.seq) == (RST, conn.rcv)


def test_a_client_in_time_wait_still_answers(connect, family):
    """A probe cannot tell a client that has closed from one that waits: TIME_WAIT answers with c and S, both FINs included."""
    conn = connect(family)
    conn.say(b"A" * 100)
    conn.client.shutdown(socket.SHUT_WR)
    wait_until(lambda: repair.info(conn.server, "state") == 8, what="CLOSE_WAIT")
    clock = repair.read_clock(conn.server)
    conn.server.close()
    wait_until(lambda: repair.info(conn.client, "state") == 7, what="TIME_WAIT (TCP_CLOSE for its socket)")
    answer = conn.answer(add(conn.snd, -2), add(conn.rcv, 1), tsval=clock + 2, payload=b"\0")
    assert (answer.ack, answer.seq) == (add(conn.snd, 1), add(conn.rcv, 1))
