"""Half-closed connections: what the client answers, and what a rebuilt socket, which is always ESTABLISHED, does in each state."""
import select
import socket

import pytest

import repair
from netns import wait_until
from wire import ACK, FIN, add

ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK = 1, 4, 5, 8, 9


def state(sock):
    return repair.info(sock, "state")


def clients_fin_acknowledged(conn):
    """The client is in FIN_WAIT2; L includes its FIN."""
    conn.client.shutdown(socket.SHUT_WR)
    wait_until(lambda: state(conn.client) == FIN_WAIT2, what="FIN_WAIT2")
    conn.rcv = add(conn.rcv, 1)


def our_fin_acknowledged(conn):
    """The client is in CLOSE_WAIT; c includes our FIN."""
    conn.server.shutdown(socket.SHUT_WR)
    wait_until(lambda: state(conn.server) == FIN_WAIT2 and state(conn.client) == CLOSE_WAIT, what="CLOSE_WAIT")
    conn.snd = add(conn.snd, 1)


def clients_fin_unacknowledged(conn):
    """The client is in FIN_WAIT1: the owner died before its FIN."""
    conn.die()
    conn.client.shutdown(socket.SHUT_WR)
    assert state(conn.client) == FIN_WAIT1


def both_fins(conn):
    """The client is in LAST_ACK: our FIN acknowledged, its FIN sent and not acknowledged."""
    our_fin_acknowledged(conn)
    conn.die()
    conn.client.shutdown(socket.SHUT_WR)
    assert state(conn.client) == LAST_ACK


STATES = [clients_fin_acknowledged, our_fin_acknowledged, clients_fin_unacknowledged, both_fins]


def readable(sock):
    return bool(select.select([sock], [], [], 0)[0])


@pytest.mark.parametrize("reach", STATES)
def test_a_half_closed_client_answers_the_probe_byte(connect, family, reach):
    """Probe: the client answers in every state in which it still has the connection, with c (its FIN of ours included) and S."""
    conn = connect(family)
    conn.say(b"A" * 100)
    reach(conn)
    if conn.clock is None:
        conn.die()
    answer = conn.answer(add(conn.snd, -2), tsval=conn.clock + 2, payload=b"\0")
    ours = reach in (clients_fin_unacknowledged, both_fins)
    assert (answer.ack, answer.seq) == (conn.snd, add(conn.rcv, 1 if ours else 0)), "S counts a FIN that nobody acknowledged"


@pytest.mark.parametrize("reach", STATES)
def test_a_half_closed_client_takes_the_fence(connect, family, reach):
    """Fence: the echo is proven in the half-closed states too."""
    conn = connect(family)
    conn.say(b"A" * 100)
    reach(conn)
    if conn.clock is None:
        conn.die()
    fence = (conn.clock + (1 << 22)) & ~1
    assert conn.fence(fence).tsecr == fence


def test_rebuilt_after_the_clients_fin_still_sends_but_never_sees_end_of_file(connect, family):
    """A record must say that the client's FIN lies below L: the rebuilt socket is ESTABLISHED and will not be told again."""
    conn = connect(family)
    clients_fin_acknowledged(conn)
    conn.die()
    conn.rebuild()
    assert state(conn.server) == ESTABLISHED
    conn.server.sendall(b"rest of the response")
    assert conn.client.recv(100) == b"rest of the response"
    wait_until(lambda: repair.unacked_bytes(conn.server) == 0, what="the acknowledgement")
    assert not readable(conn.server)
    conn.server.shutdown(socket.SHUT_WR)
    assert conn.client.recv(100) == b""


def test_rebuilt_before_the_clients_fin_sees_it_by_retransmission(connect, family):
    """[L, S) holds only a FIN: the client repeats it and the rebuilt socket reads end of file once."""
    conn = connect(family)
    clients_fin_unacknowledged(conn)
    conn.rebuild()
    assert conn.server.recv(100) == b""
    assert state(conn.server) == CLOSE_WAIT
    conn.server.sendall(b"response")
    assert conn.client.recv(100) == b"response"


def test_rebuilt_behind_our_fin_receives_but_what_it_sends_is_ignored(connect, family):
    """Our FIN was acknowledged (c includes it): the client's bytes still arrive, but a further byte of ours is dropped without an answer
    (tcp_rcv_state_process, CLOSE_WAIT). A record must say that our FIN lies below c, or the heir retransmits for ever."""
    conn = connect(family)
    our_fin_acknowledged(conn)
    conn.die()
    conn.rebuild()
    conn.hear(b"the rest of an upload")
    conn.settle()
    conn.server.send(b"wrong")
    assert conn.from_client() == []
    assert (conn.client.recv(100), state(conn.client)) == (b"", CLOSE_WAIT)
    assert repair.unacked_bytes(conn.server) == 5


def test_rebuilt_one_below_our_fin_can_close_again(connect, family):
    """Rebuilt at c - 1, the position of our FIN, a close repeats that FIN and the connection ends in the regular way."""
    conn = connect(family)
    our_fin_acknowledged(conn)
    conn.die()
    conn.rebuild(snd=add(conn.snd, -1))
    conn.server.shutdown(socket.SHUT_WR)
    fin = conn.next(lambda one: one.out and one.flags & FIN, "our FIN again")
    assert (fin.seq, fin.flags & ACK) == (add(conn.snd, -1), ACK)
    wait_until(lambda: state(conn.server) == FIN_WAIT2, what="the acknowledgement of the FIN")
    conn.client.sendall(b"bye")
    conn.client.shutdown(socket.SHUT_WR)
    assert conn.read(conn.server, 100) == b"bye"
    wait_until(lambda: state(conn.client) == 7, what="the client's regular end (TCP_CLOSE)")
