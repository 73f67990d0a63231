"""Clients behind conntrack (PROTOCOL.md, Clients: 'behind NAT, conntrack')."""
import pytest

from link import is_data
from wire import add


@pytest.fixture
def firewall(link):
    """The client's own firewall drops what conntrack calls INVALID."""
    link.client.nft("add table inet fw; add chain inet fw in { type filter hook input priority 0; };"
                    "add rule inet fw in meta l4proto tcp ct state invalid drop")
    yield
    link.client.nft("delete table inet fw")


def downloaded(connect, family, size):
    """A connection with `size` bytes out, its owner dead; the largest window that the client ever offered."""
    conn = connect(family, rcvbuf=30_000)
    sent = 0
    while sent < size:
        conn.say(b"d" * 20_000)
        sent += 20_000
    seen = conn.barrier()
    assert any(is_data(one) for one in seen)
    return conn.die(), max(one.win << conn.facts.snd_wscale for one in seen if not one.out)


def answered(conn, seq):
    return len(conn.answers(seq, tsval=conn.clock + 1, payload=b"\0")) == 1


def test_conntrack_passes_a_fence_and_a_probe_within_the_clients_window(connect, firewall, family):
    """`acked` in the record is never more than 1 MB or 1 s old: a probe not further below c than the largest window is never INVALID."""
    conn, window = downloaded(connect, family, 400_000)
    for below in (1, 2, 100, window // 2):
        assert answered(conn, add(conn.snd, -below)), below


@pytest.mark.kernel(6, 1, why="before, a segment below the client's window counts INVALID, as on other middleboxes")
def test_conntrack_ignores_a_probe_far_below_the_cursor_instead_of_calling_it_invalid(connect, firewall, family):
    """'Far-below segments may count INVALID' (e4): no longer on Linux (NFCT_TCP_IGNORE, already acknowledged data). A probe at ISS - 1 of a
    long download arrives."""
    conn, window = downloaded(connect, family, 400_000)
    assert window < 200_000
    for seq in (add(conn.snd, -3 * window), conn.iss, add(conn.iss, -1)):
        assert answered(conn, seq)


def test_conntrack_calls_a_segment_above_the_clients_window_invalid(connect, firewall, family):
    """The firewall of these tests works, and a probe must never lie above c: without the firewall it is answered, with it not."""
    conn, window = downloaded(connect, family, 40_000)
    assert not answered(conn, add(conn.snd, 4 * window))
    conn.link.client.nft("flush chain inet fw in")
    assert answered(conn, add(conn.snd, 4 * window))
