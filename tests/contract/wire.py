"""Packets as bytes: build, parse, send and capture them at one end of a link (AF_PACKET, so no firewall is in between).

Sequence numbers are 32-bit values; add() and diff() are RFC 1982 arithmetic on them.
"""
import dataclasses
import itertools
import select
import socket
import struct
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4  # linux/if_packet.h


def add(seq, count):
    return (seq + count) & MASK


def diff(left, right):
    """left - right as a signed 32-bit number."""
    return ((left - right + 0x80000000) & MASK) - 0x80000000


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclasses.dataclass
class Segment:
    """A TCP segment as it was on the wire. `out`: it left the device that captured it."""
    packet: bytes
    out: bool
    src: str
    dst: str
    label: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    win: int
    payload: bytes
    tsval: int = None
    tsecr: int = None
    mss: int = None
    wscale: int = None
    sack_ok: bool = False
    sack: list = dataclasses.field(default_factory=list)

    @property
    def pure_ack(self):
        return self.flags & (FIN | SYN | RST | ACK) == ACK and not self.payload


@dataclasses.dataclass
class Echo:
    """An ICMP or ICMPv6 echo reply."""
    number: int
    out: bool


def _tcp_options(raw, segment):
    at = 0
    while at < len(raw) and raw[at] != 0:
        if raw[at] == 1:
            at += 1
            continue
        kind, size = raw[at], raw[at + 1]
        body = raw[at + 2:at + size]
        if kind == 2:
            segment.mss, = struct.unpack("!H", body)
        elif kind == 3:
            segment.wscale = body[0]
        elif kind == 4:
            segment.sack_ok = True
        elif kind == 5:
            segment.sack = list(struct.iter_unpack("!II", body))
        elif kind == 8:
            segment.tsval, segment.tsecr = struct.unpack("!II", body)
        at += size


def parse(packet, out=False):
    """An IPv4 or IPv6 packet (no extension headers) as Segment or Echo; None for anything else."""
    if len(packet) < 20:
        return None
    if packet[0] >> 4 == 4:
        family, header, protocol, label = socket.AF_INET, (packet[0] & 15) * 4, packet[9], 0
        packet = packet[:struct.unpack("!H", packet[2:4])[0]]
        src, dst = packet[12:16], packet[16:20]
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        family, header, protocol = socket.AF_INET6, 40, packet[6]
        label = struct.unpack("!I", packet[:4])[0] & 0xFFFFF
        packet = packet[:40 + struct.unpack("!H", packet[4:6])[0]]
        src, dst = packet[8:24], packet[24:40]
    else:
        return None
    body = packet[header:]
    if (protocol, body[:1]) in ((1, b"\0"), (58, b"\x81")):
        return Echo(struct.unpack("!H", body[6:8])[0], out)
    if protocol != 6 or len(body) < 20:
        return None
    sport, dport, seq, ack, offset, flags, win = struct.unpack("!HHIIBBH", body[:16])
    end = (offset >> 4) * 4
    segment = Segment(packet, out, socket.inet_ntop(family, src), socket.inet_ntop(family, dst), label, sport, dport,
                      seq, ack, flags, win, body[end:])
    _tcp_options(body[20:end], segment)
    return segment


def _address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def ip_packet(src, dst, protocol, body, sum_at, label=0):
    """`body` with its checksum filled in at offset `sum_at`, behind an IP header."""
    source, target = _address(src), _address(dst)
    pseudo = b"" if protocol == 1 else source + target + struct.pack("!II", len(body), protocol)
    body = body[:sum_at] + struct.pack("!H", checksum(pseudo + body)) + body[sum_at + 2:]
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28 | label, len(body), protocol, 64) + source + target + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + source + target
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def tcp_packet(src, dst, sport, dport, seq, ack, flags=ACK, win=65535, tsval=None, tsecr=0, payload=b"", label=0,
               options=b""):
    if tsval is not None:
        options += struct.pack("!BBBBII", 1, 1, 8, 10, tsval & MASK, tsecr & MASK)
    options += b"\0" * (-len(options) % 4)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & MASK, ack & MASK, (20 + len(options)) // 4 << 4, flags, win, 0, 0)
    return ip_packet(src, dst, 6, head + options + payload, 16, label)


def again(segment):
    """The captured segment as a packet with complete checksums (the kernel leaves them to the device)."""
    header = 40 if ":" in segment.src else 20
    body = segment.packet[header:]
    return ip_packet(segment.src, segment.dst, 6, body[:16] + b"\0\0" + body[18:], 16, segment.label)


class Tap:
    """Both directions of one device. Its own emissions are not in its captures (af_packet.c skb_loop_sk)."""
    _numbers = itertools.count(1)

    def __init__(self, namespace, device, own_mac, other_mac):
        with namespace:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: a capture that drops proves nothing
        self.socket.bind((device, ETH_P_ALL))
        self._macs = [bytes.fromhex(mac.replace(":", "")) for mac in (other_mac, own_mac)]

    def emit(self, packet):
        protocol = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
        self.socket.send(b"".join(self._macs) + struct.pack("!H", protocol) + packet)

    def frame(self, timeout=10):
        """The next captured frame and its packet type, or None."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return None
        data, address = self.socket.recvfrom(1 << 18)
        return data, address[2]

    def upto(self, wanted, what="a packet", timeout=10, port=None):
        """Everything captured up to and including the first that is wanted(); of TCP only what has this port."""
        seen, deadline = [], time.monotonic() + timeout
        while True:
            got = self.frame(max(0, deadline - time.monotonic()))
            assert got, f"{what} was not seen within {timeout} s; seen: {seen}"
            one = parse(got[0][14:], got[1] == PACKET_OUTGOING)
            if one is None or (isinstance(one, Segment) and port and port not in (one.sport, one.dport)):
                continue
            seen.append(one)
            if wanted(one):
                return seen

    def barrier(self, src, dst, tap=None, port=None):
        """Sends an echo request and returns the segments that `tap` (default: this one) captured before its answer.

        What the receiver sends at once because of earlier packets is among them: one queue, one CPU (conftest.py).
        """
        number = next(self._numbers) & 0xFFFF
        v6 = ":" in src
        request = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0x5CB7, number)
        self.emit(ip_packet(src, dst, 58 if v6 else 1, request, 2))
        seen = (tap or self).upto(lambda one: isinstance(one, Echo) and one.number == number, "the barrier's echo", port=port)
        return [one for one in seen if isinstance(one, Segment)]

    def close(self):
        self.socket.close()
