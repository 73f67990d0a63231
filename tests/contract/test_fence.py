"""The fence: one garbage byte at c - 1 with a TSval forward; from then on the client refuses everything older (PAWS, RFC 7323 5)."""
import pytest

import repair
from netns import wait_until
from wire import ACK, FIN, RST, add, diff

JUMP = 300 << 20  # ms; 300 slots forward


def owned(connect, family=4, **options):
    conn = connect(family, **options)
    conn.say(b"A" * 1000)
    return conn.die()


def fenced(connect, family=4, jump=JUMP):
    """A connection whose client has echoed our fence; F is `conn.fenced_at`."""
    conn = owned(connect, family)
    conn.fenced_at = add(conn.clock, jump)
    assert conn.fence(conn.fenced_at).tsecr == conn.fenced_at
    return conn


def nothing_read(conn):
    """The application has no byte to read, and none of a stale segment is queued beyond a hole."""
    answer = conn.answer(add(conn.iss, -1), tsval=conn.fenced_at, payload=b"\0")
    beyond = [block for block in answer.sack if diff(block[0], conn.snd) >= 0]  # one below is the garbage byte's own D-SACK
    return repair.unread_bytes(conn.client) == 0 and answer.ack == conn.snd and not beyond


def test_the_answer_to_a_fence_echoes_it_with_cursor_and_seq(connect, family):
    """'answer: the same, echoing F': a pure ACK with c and S, at once, also when repeated."""
    conn = owned(connect, family)
    later = add(conn.clock, JUMP)
    for _ in range(3):
        answer = conn.fence(later)
        assert (answer.tsecr, answer.ack, answer.seq, answer.pure_ack) == (later, conn.snd, conn.rcv, True)


def test_after_a_fence_older_data_is_refused(connect, family):
    """'Nothing older is accepted from here on, neither data ...': the former owner's bytes at the cursor and beyond it."""
    conn = fenced(connect, family)
    conn.emit(conn.snd, tsval=conn.clock + 10, payload=b"old owner")
    conn.emit(add(conn.snd, 1000), tsval=conn.clock + 10, payload=b"old owner")
    assert nothing_read(conn)
    conn.rebuild(tsval=add(conn.fenced_at, 2))
    conn.server.send(b"new owner")
    assert conn.client.recv(100) == b"new owner"


def test_after_a_fence_older_acknowledgements_are_refused(connect, family):
    """'... nor acknowledgements': bytes that the client sends after the fence stay its own until the new owner takes them."""
    conn = fenced(connect, family)
    conn.client.send(b"u" * 500)
    conn.emit(conn.snd, add(conn.rcv, 500), tsval=conn.clock + 10)
    conn.settle()
    assert repair.unacked_bytes(conn.client) == 500
    conn.emit(conn.snd, add(conn.rcv, 500), tsval=add(conn.fenced_at, 2))
    conn.settle()
    assert repair.unacked_bytes(conn.client) == 0


def test_after_a_fence_an_older_fin_is_refused_and_an_older_rst_is_not(connect, family):
    """'RST ignores PAWS': the reason of egress rule 3 for RST. A FIN needs no such rule (e2)."""
    conn = fenced(connect, family)
    conn.emit(conn.snd, tsval=conn.clock + 10, flags=FIN | ACK)
    assert nothing_read(conn)
    assert repair.info(conn.client, "state") == 1
    conn.emit(conn.snd, tsval=conn.clock + 10, flags=RST | ACK)
    conn.settle()
    assert repair.refusal(conn.client.recv, 1) == "ECONNRESET"


def test_an_rst_beside_the_cursor_is_only_challenged(connect, family):
    """RFC 5961 3.2: an RST in the window that is not at RCV.NXT is answered, so that it says c; it does not end the flow."""
    conn = owned(connect, family)
    challenge = conn.answer(add(conn.snd, 10), tsval=conn.clock, flags=RST | ACK)
    assert challenge.pure_ack and challenge.ack == conn.snd
    assert repair.info(conn.client, "state") == 1


@pytest.mark.parametrize("jump, proven", [((1 << 31) - (1 << 24), True), ((1 << 31) + (1 << 20), False)],
                         ids=["2^31 - 2^24", "2^31 + 2^20"])
def test_a_fence_more_than_2_to_31_ahead_is_not_accepted(connect, family, jump, proven):
    """`ts_advance` stays below 2^31 - 2^24: beyond, PAWS takes forward for backward."""
    conn = owned(connect, family)
    later = add(conn.clock, jump)
    assert (conn.fence(later).tsecr == later) == proven


@pytest.mark.parametrize("first, second, old_is_back", [(300, 300, False), (1500, 600, True), (1100, 1100, True)])
def test_two_claims_that_add_up_to_more_than_2_to_31_unfence_the_first_owner(connect, first, second, old_is_back):
    """Why a claim that would take `ts_advance` past the limit waits or ends the session (e2): each fence is proven, and yet the first
    owner's TSval counts as newer again."""
    conn = owned(connect)
    for jump in (first << 20, (first + second) << 20):
        assert conn.fence(add(conn.clock, jump)).tsecr == add(conn.clock, jump)
    conn.emit(conn.snd, tsval=conn.clock + 50, payload=b"first owner")
    conn.settle()
    assert repair.unread_bytes(conn.client) == (11 if old_is_back else 0)


def test_a_fence_based_on_an_old_echo_does_not_stop_an_owner_whose_clock_went_on(connect):
    """Base = serial max(echo, *the former owner's clock now*): a fence 150 s above the echo of a flow that was idle for 20 min (x5)."""
    conn = owned(connect)
    fence = conn.clock + 150_000
    assert conn.fence(fence).tsecr == fence
    conn.emit(conn.snd, tsval=conn.clock + 1_200_000, payload=b"old owner")
    assert conn.client.recv(100) == b"old owner"


def test_a_fence_below_the_clients_snd_una_is_answered_without_our_echo(connect, family):
    """Claim, step 1: 'ACK the same, at once, without our echo: the client's snd_una is above L'. The lost-bytes rung begins here (e2)."""
    conn = connect(family)
    conn.say(b"A" * 1000)
    conn.hear(b"u" * 500)
    conn.die()
    later = add(conn.clock, JUMP)
    answer = conn.fence(later, ack=add(conn.rcv, -500))
    assert (answer.ack, answer.seq) == (conn.snd, conn.rcv) and answer.tsecr != later
    conn.client.send(b"z")
    assert all(one.tsecr != later for one in conn.from_client())
    answer = conn.fence(later, ack=add(conn.rcv, 0))
    assert answer.tsecr == later, "the same fence with ACK = S"


def test_a_fence_that_acknowledges_s_swallows_unacknowledged_bytes(connect, family):
    """ACK column: 'L; never SEQ of the stray: that would swallow bytes nobody holds' (e2)."""
    conn = owned(connect, family)
    conn.client.send(b"POST" * 100)
    conn.settle()
    later = add(conn.clock, JUMP)
    conn.fence(later, ack=conn.rcv)
    assert repair.unacked_bytes(conn.client) == 400
    conn.fence(later, ack=add(conn.rcv, 400))
    assert repair.unacked_bytes(conn.client) == 0


def test_a_fence_above_the_clients_seq_is_refused(connect, family):
    """An ACK beyond S: answered (RFC 5961 5.2 or RFC 9293), not taken as a fence."""
    conn = owned(connect, family)
    later = add(conn.clock, JUMP)
    got = conn.answers(add(conn.snd, -1), add(conn.rcv, 10_000), tsval=later, payload=b"\0")
    assert all(one.tsecr != later for one in got)
    assert conn.answer(add(conn.iss, -1), tsval=conn.clock, payload=b"\0").tsecr != later


def test_sack_blocks_of_the_answer_show_only_a_part(connect, family):
    """'A SACK block above c, or no SACK: everything up to c + its largest window may hold the old owner's bytes.'"""
    conn = owned(connect, family)
    for hole in range(6):
        conn.emit(add(conn.snd, 1000 * (2 * hole + 1)), tsval=conn.clock + 10, payload=b"A" * 1000)
    answer = conn.fence(add(conn.clock, JUMP))
    assert answer.ack == conn.snd
    assert 1 <= sum(diff(left, conn.snd) >= 0 for left, _ in answer.sack) <= 3, "six ranges lie beyond holes"


def test_what_lies_beyond_a_hole_survives_the_fence(connect, family):
    """The other half of that rule: the old owner's bytes above c are still there after the fence and are read when the hole is filled."""
    conn = owned(connect, family)
    conn.emit(add(conn.snd, 4), tsval=conn.clock + 10, payload=b"old!")
    assert conn.fence(add(conn.clock, JUMP)).sack == [(add(conn.snd, -1), conn.snd), (add(conn.snd, 4), add(conn.snd, 8))]
    conn.rebuild(tsval=add(conn.clock, JUMP + 2))
    conn.server.send(b"new.")
    assert conn.read(conn.client, 8) == b"new.old!"


def test_a_client_with_a_closed_window_takes_the_fence(connect, family):
    """'Zero window ... fine' (e2)."""
    conn = connect(family, rcvbuf=4096)
    conn.server.setblocking(False)
    while repair.refusal(conn.server.send, b"x" * 1000) is None:
        pass
    closed = conn.next(lambda one: not one.out and one.win == 0, "a closed window")
    conn.die()
    later = add(conn.clock, JUMP)
    answer = conn.answer(add(closed.ack, -1), tsval=later, payload=b"\0")
    assert (answer.tsecr, answer.win, answer.ack) == (later, 0, closed.ack)


def test_a_pending_delayed_ack_does_not_hold_back_the_answer(connect, family):
    """'... and a pending delayed ACK are fine' (e2): the fence goes to the last byte that was acknowledged, the answer has all."""
    conn = owned(connect, family)
    sent, acked = 0, conn.snd
    while True:  # until the client keeps an ACK back
        conn.settle()
        conn.emit(add(conn.snd, sent), tsval=conn.clock + 1, payload=b"d")
        sent += 1
        got = conn.from_client()
        if not got:
            break
        acked = got[-1].ack
        assert sent < 100, "the client never delays"
    later = add(conn.clock, JUMP)
    answer = conn.answer(add(acked, -1), tsval=later, payload=b"\0")
    assert (answer.ack, answer.tsecr) == (add(conn.snd, sent), later)


def test_two_claimants_the_later_fence_wins(connect, family):
    """'The latest F wins': the first claimant's segments are older than the second fence, whatever the order of arrival."""
    conn = fenced(connect, family)
    first, second = conn.fenced_at, add(conn.fenced_at, 1 << 22)
    assert conn.fence(second).tsecr == second
    assert conn.fence(first).tsecr == second
    conn.emit(conn.snd, tsval=add(first, 5), payload=b"first claimant")
    conn.fenced_at = second
    assert nothing_read(conn)


def test_a_living_old_owner_still_reads_what_the_client_sends_after_a_fence(connect, family):
    """'Replaced': an echo ahead of the socket does not stop the kernel from taking the data, so ingress must (x9)."""
    conn = connect(family)
    conn.say(b"A" * 1000)
    fence = add(repair.read_clock(conn.server), 3 << 20)
    assert conn.fence(fence).tsecr == fence
    conn.client.send(b"POST /pay")
    assert conn.server.recv(100) == b"POST /pay"


def test_a_fenced_living_owner_makes_no_progress(connect, family):
    """The fence against a living owner: its bytes are answered with duplicate ACKs that echo F, and never read."""
    conn = connect(family)
    conn.say(b"A" * 1000)
    fence = add(repair.read_clock(conn.server), JUMP)
    assert conn.fence(fence).tsecr == fence
    conn.server.send(b"stale")
    answer = conn.next(lambda one: not one.out, "the client's refusal")
    assert (answer.ack, answer.tsecr) == (conn.snd, fence)
    wait_until(lambda: repair.info(conn.server, "total_retrans") >= 1, what="a retransmission")
    conn.settle()
    assert (repair.unread_bytes(conn.client), repair.unacked_bytes(conn.server)) == (0, 5)


def test_the_rebuilt_sockets_timestamps_stand_above_the_fence(connect, family):
    """Claim, step 3: 'timestamps above F'. One at F is still accepted (equal is not older), one below is not."""
    for offset, arrives in ((0, True), (-1000, False)):
        conn = fenced(connect, family)
        conn.emit(conn.snd, tsval=add(conn.fenced_at, offset), payload=b"x")
        conn.settle()
        assert (repair.unread_bytes(conn.client) == 1) == arrives


def test_a_client_without_timestamps_cannot_be_fenced(connect, family):
    """'Without timestamps there is no proof': the byte is answered, and the former owner's bytes still arrive."""
    conn = owned(connect, family, timestamps=False)
    answer = conn.answer(add(conn.snd, -1), payload=b"\0")
    assert (answer.tsecr, answer.ack) == (None, conn.snd)
    conn.emit(conn.snd, payload=b"old owner")
    assert conn.client.recv(100) == b"old owner"


def test_no_sack_client_says_nothing_of_what_lies_beyond_a_hole(connect, family):
    """Why 'no SACK' is as bad as a block above c."""
    conn = owned(connect, family, sack=False)
    conn.emit(add(conn.snd, 4), tsval=conn.clock + 10, payload=b"old!")
    answer = conn.fence(add(conn.clock, JUMP))
    assert (answer.ack, answer.sack) == (conn.snd, [])
    conn.emit(conn.snd, tsval=add(conn.clock, JUMP + 2), payload=b"new.")
    assert conn.read(conn.client, 8) == b"new.old!"
