"""VXLAN in external mode (PROTOCOL.md, Forwarding): what a PoP's kernel does with tunnelled packets on the way in."""
import itertools
import socket
import struct

import pytest

from link import CLIENT, MAC_C, OWNER, VIP
from netns import run
from wire import PACKET_OTHERHOST, Echo, Tap, ip_packet

UDP_NO_CHECK6_TX, SO_NO_CHECK = 101, 11
MAC_VX, MAC_ELSEWHERE = "02:00:00:00:00:11", "02:00:00:00:00:99"
_ports = itertools.count(4790)


class Tunnel:
    """A VXLAN device at the owner, and a peer in the client's namespace that writes VXLAN by hand."""

    def __init__(self, link, *options):
        self.link, self.port = link, next(_ports)
        link.server.ip("link", "add", "vx0", "address", MAC_VX, "type", "vxlan", "external", "dstport", self.port, *options)
        link.server.ip("link", "set", "vx0", "up")
        self.tap = Tap(link.server, "vx0", MAC_VX, MAC_C)

    def send(self, family, inner, mac=MAC_VX, checksum=True, vni=7):
        with self.link.client, socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as peer:
            if not checksum and family == 6:
                peer.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
            elif not checksum:
                peer.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
            macs = bytes.fromhex((mac + MAC_C).replace(":", ""))
            protocol = 0x86DD if inner[0] >> 4 == 6 else 0x0800
            peer.sendto(struct.pack("!II", 0x08000000, vni << 8) + macs + struct.pack("!H", protocol) + inner,
                        (OWNER[family], self.port))

    def arrived(self, number):
        """Packet types of the frames with this echo number that came out of the device, up to the one numbered 9999."""
        types = []
        while True:
            frame, kind = self.tap.frame() or pytest.fail("the last frame did not arrive")
            seen, = struct.unpack("!H", frame[14 + 20 + 6:14 + 20 + 8])
            if seen == 9999:
                return types
            if seen == number:
                types.append(kind)

    def close(self):
        self.tap.close()
        self.link.server.ip("link", "del", "vx0")


@pytest.fixture
def tunnel(link):
    made = []

    def make(*options):
        made.append(Tunnel(link, *options))
        return made[-1]
    yield make
    for one in made:
        one.close()


def echo(number):
    """An echo request of the client to the VIP."""
    return ip_packet(CLIENT[4], VIP[4], 1, struct.pack("!BBHHH", 8, 0, 0, 0x5CB8, number), 2)


@pytest.mark.parametrize("options, arrives", [(("noudp6zerocsumrx",), 0), (("udp6zerocsumrx",), 1)], ids=["default", "udp6zerocsumrx"])
def test_zero_checksum_over_ipv6_needs_udp6zerocsumrx(tunnel, options, arrives):
    """Forwarding: 'IPv4 and IPv6 underlay (udp6zerocsumrx)': without it such packets vanish; those with a checksum do not."""
    one = tunnel(*options)
    one.send(6, echo(1), checksum=False)
    one.send(6, echo(9999))
    assert len(one.arrived(1)) == arrives


def test_zero_checksum_over_ipv4_always_arrives(tunnel):
    """The same over IPv4, where a zero checksum is ordinary (RFC 768)."""
    one = tunnel()
    one.send(4, echo(1), checksum=False)
    one.send(4, echo(9999))
    assert len(one.arrived(1)) == 1


def test_external_mode_takes_every_vni(tunnel):
    """VNI kinds orphan, final, ask: one device, the tunnel key tells them apart."""
    one = tunnel()
    for vni in (1, 77, 0xFFFFFE):
        one.send(4, echo(1), vni=vni)
    one.send(4, echo(9999))
    assert len(one.arrived(1)) == 3


@pytest.mark.parametrize("mac, rewritten, answered", [(MAC_VX, False, True), (MAC_ELSEWHERE, False, False), (MAC_ELSEWHERE, True, True)],
                         ids=["own MAC", "other MAC", "other MAC, PACKET_HOST"])
def test_an_inner_frame_for_another_mac_needs_change_type(tunnel, link, programs, mac, rewritten, answered):
    """KERNEL.md, Forwarding: 'the receiving side needs bpf_skb_change_type(PACKET_HOST) on the VXLAN device's ingress'."""
    one = tunnel()
    if rewritten:
        programs.attach(link.server, "vx0", "ingress", "to_host")
    tap = link.server_tap()
    one.send(4, echo(1), mac=mac)
    one.send(4, echo(9999), mac=MAC_VX)  # this one is always answered, after the other
    seen = tap.upto(lambda got: isinstance(got, Echo) and got.out and got.number == 9999, "the second answer")
    tap.close()
    assert [got.number for got in seen if isinstance(got, Echo) and got.out] == ([1, 9999] if answered else [9999])
    assert one.arrived(1) == [PACKET_OTHERHOST if mac == MAC_ELSEWHERE else 0]


def test_two_external_devices_on_one_port_collide(tunnel, link):
    """'Not 4789 or 8472: other stacks own those' (x9): a second device in external mode on the port is refused."""
    one = tunnel()
    with pytest.raises(AssertionError, match="exist|use"):
        link.server.ip("link", "add", "vx1", "type", "vxlan", "external", "dstport", one.port)
    assert "vx1" not in run("ip", "-n", link.server.name, "link")
