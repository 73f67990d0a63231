"""What an owner can learn of a connection at accept (PROTOCOL.md, 'What the owner does with a socket at accept')."""
import socket

import pytest

import repair
from link import CLIENT, VIP
from netns import wait_until
from wire import ACK, SYN, Segment, add, parse

COOKIES = {"request socket": 1, "SYN cookie": 2}


@pytest.mark.parametrize("cookies", COOKIES.values(), ids=COOKIES)
@pytest.mark.parametrize("data, fin", [(b"", False), (b"GET / HTTP/1.1", False), (b"GET / HTTP/1.1", True)],
                         ids=["nothing sent", "data waiting", "data and FIN waiting"])
def test_irs_is_queue_seq_minus_bytes_received_minus_1(link, family, sysctl, cookies, data, fin):
    """'Then QUEUE_SEQ - bytes_received - 1': true with bytes in the queue, and bytes_received counts a FIN as the queue does."""
    sysctl("server", "net.ipv4.tcp_syncookies", cookies)
    tap, port = link.server_tap(), link.port()
    listener = link.listen(family, port)
    with link.client:
        client = socket.create_connection((VIP[family], port), timeout=10)
    client.sendall(data)
    if fin:
        client.shutdown(socket.SHUT_WR)
    seen = tap.barrier(VIP[family], CLIENT[family], port=port)
    syn, syn_ack = [one for one in seen if one.flags & SYN]
    server, _ = listener.accept()
    with repair.repairing(server):
        received = repair.info(server, "bytes_received")
        assert add(repair.queue_seq(server, repair.RECV_QUEUE), -received - 1) == syn.seq
        assert repair.queue_seq(server, repair.SEND_QUEUE) == add(syn_ack.seq, 1)
    assert received == len(data) + fin
    for one in (tap, client, server, listener):
        one.close()


@pytest.mark.parametrize("cookies", COOKIES.values(), ids=COOKIES)
def test_saved_syn_is_the_clients_syn_and_empty_for_syn_cookies(link, family, sysctl, cookies):
    """'TCP_SAVED_SYN; it is empty for SYN-cookie connections' (x9). Otherwise: IP header on, flow label and options included."""
    sysctl("server", "net.ipv4.tcp_syncookies", cookies)
    tap, port = link.server_tap(), link.port()
    listener = link.listen(family, port, TCP_SAVE_SYN=1)
    with link.client:
        client = socket.create_connection((VIP[family], port), timeout=10)
    syn = tap.barrier(VIP[family], CLIENT[family], port=port)[0]
    server, _ = listener.accept()
    saved = server.getsockopt(socket.IPPROTO_TCP, repair.TCP_SAVED_SYN, 512)
    if cookies == 2:
        assert saved == b""
    else:
        header = parse(saved.ljust(len(syn.packet), b"\0"))
        assert (header.seq, header.label, header.wscale, header.mss) == (syn.seq, syn.label, syn.wscale, syn.mss)
        assert server.getsockopt(socket.IPPROTO_TCP, repair.TCP_SAVED_SYN, 512) == b"", "it can be read once"
    for one in (tap, client, server, listener):
        one.close()


@pytest.mark.parametrize("cookies", COOKIES.values(), ids=COOKIES)
def test_options_survive_a_syn_cookie_with_timestamps(connect, family, sysctl, cookies):
    """Records of cookie connections: scales, SACK and timestamps are those of the handshake (they travel in the timestamp)."""
    sysctl("server", "net.ipv4.tcp_syncookies", cookies)
    conn = connect(family)
    seen = conn.tap.upto(lambda one: isinstance(one, Segment) and one.flags == ACK, "the handshake", port=conn.port)
    syn, syn_ack = [one for one in seen if one.flags & SYN]
    facts = conn.facts
    assert (facts.snd_wscale, facts.rcv_wscale, facts.sack, facts.timestamps) == (syn.wscale, syn_ack.wscale, True, True)
    conn.say(b"A" * 5000)
    conn.hear(b"a" * 5000)
    conn.die()
    conn.rebuild()
    conn.say(b"B" * 5000)
    conn.hear(b"b" * 5000)


def test_maxseg_on_the_listener_clamps_both_directions(connect, family):
    """Pitfall MSS, 'clamp at SYN time on every PoP': TCP_MAXSEG on the listener is in the SYN-ACK and in the accepted socket."""
    conn = connect(family, TCP_MAXSEG=1200)
    seen = conn.tap.upto(lambda one: isinstance(one, Segment) and one.flags == ACK, "the handshake", port=conn.port)
    assert [one.mss for one in seen if one.out and one.flags & SYN] == [1200]
    conn.client.send(b"u" * 5000)
    conn.server.send(b"d" * 5000)
    sizes = [len(one.payload) for one in conn.barrier()]
    assert 0 < max(sizes) <= 1200 - 12


def test_accepted_sockets_keep_reuse_flags_so_a_restarted_listener_binds(link, family):
    """Restart beside living flows: sockets accepted from a REUSEADDR + REUSEPORT listener do not block the next one, also after
    TCP_REPAIR at accept (e8; only the rebuilt ones need help)."""
    port = link.port()

    def listen():
        with link.server:
            one = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            one.setsockopt(socket.SOL_SOCKET, name, 1)
        one.bind((VIP[family], port))
        one.listen(4)
        return one
    old = listen()
    with link.client:
        client = socket.create_connection((VIP[family], port), timeout=10)
    server, _ = old.accept()
    repair.read_facts(server)
    old.close()
    listen().close()
    for one in (client, server):
        one.close()


def test_bytes_of_the_client_may_wait_before_accept(link, family):
    """KERNEL.md: 'Bytes may already be in the receive queue by then: the offsets must account for them.'"""
    port = link.port()
    listener = link.listen(family, port)
    with link.client:
        client = socket.create_connection((VIP[family], port), timeout=10)
    client.sendall(b"early" * 100)
    wait_until(lambda: repair.unacked_bytes(client) == 0, what="the kernel's acknowledgement, before accept")
    server, _ = listener.accept()
    assert repair.unread_bytes(server) == 500
    assert repair.info(server, "bytes_received") == 500
    for one in (client, server, listener):
        one.close()
