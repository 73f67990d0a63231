"""IPv6 flow labels (PROTOCOL.md, 'What the owner does with a socket at accept'; e5, x9). Routers hash them: a change moves the flow."""
import pytest

from wire import add

OTHER = 0x12345


@pytest.fixture
def reflecting(sysctl):
    sysctl("server", "net.ipv6.flowlabel_reflect", 1)


def labels(conn):
    """(owner's, client's) labels on the wire since the last look."""
    seen = conn.barrier()
    return {one.label for one in seen if one.out}, {one.label for one in seen if not one.out}


def test_flowlabel_reflect_makes_ours_the_clients_own(connect, reflecting):
    """'net.ipv6.flowlabel_reflect=1 makes ours the client's own': SYN-ACK and every segment after it."""
    conn = connect(6)
    conn.server.send(b"x" * 3000)
    conn.client.send(b"y")
    ours, clients = labels(conn)
    assert ours == clients and len(ours) == 1 and 0 not in ours


def test_without_flowlabel_reflect_each_side_chooses_its_own(connect, sysctl):
    """The same rule taken away. One of 2^20 labels each: three flows do not agree by chance."""
    sysctl("server", "net.ipv6.flowlabel_reflect", 0)
    different = 0
    for _ in range(3):
        conn = connect(6)
        conn.server.send(b"x")
        ours, clients = labels(conn)
        different += ours != clients
    assert different


def test_a_rebuilt_socket_keeps_the_label_given_at_connect(connect, reflecting):
    """Claim, step 3, 'flow label': sin6_flowinfo with IPV6_FLOWINFO_SEND, no flow label manager needed."""
    conn = connect(6)
    conn.client.send(b"y")
    label = conn.from_client()[0].label
    assert conn.server.recv(10) == b"y"
    conn.rcv = add(conn.rcv, 1)
    conn.die()
    conn.rebuild(label=label)
    conn.say(b"A" * 5000)
    conn.hear(b"b")
    ours, clients = labels(conn)
    assert ours == {label} == clients


def test_a_rebuilt_socket_without_a_label_does_not_reflect(connect, reflecting):
    """flowlabel_reflect works for accepted sockets only: the heir must set the label itself."""
    different = 0
    for _ in range(3):
        conn = connect(6)
        conn.client.send(b"y")
        label = conn.from_client()[0].label
        conn.die()
        conn.rebuild(rcv=add(conn.rcv, 1))
        conn.server.send(b"x")
        different += conn.next(lambda one: one.out and one.payload, "the heir's data").label != label
    assert different


def test_probes_with_the_flows_label_leave_the_clients_label_alone(connect, reflecting):
    """'One garbage byte ..., the flow's label': any number of them."""
    conn = connect(6)
    conn.say(b"A" * 100)
    conn.settle()
    conn.client.send(b"y")
    label = conn.next(lambda one: not one.out and one.payload, "the client's data").label
    conn.die()
    for step in range(5):
        answer = conn.answer(add(conn.snd, -2), tsval=add(conn.clock, step), payload=b"\0", label=label)
        assert answer.label == label


def test_a_probe_with_another_label_makes_the_client_change_its_own(connect, reflecting):
    """The same rule taken away (tcp_rcv_spurious_retrans, e5): the client rehashes, and its packets may take another path."""
    conn = connect(6)
    conn.say(b"A" * 100)
    conn.settle()
    conn.client.send(b"y")
    label = conn.next(lambda one: not one.out and one.payload, "the client's data").label
    conn.die()
    seen = {conn.answer(add(conn.snd, -1), tsval=add(conn.clock, step), payload=b"\0", label=OTHER + step).label for step in range(4)}
    assert seen - {label}
