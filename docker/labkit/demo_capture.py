"""What the wire says: a capture at the client, and what it shows of resets, of FINs that nobody asked for, and of waiting."""
import ipaddress
import signal
import struct
import subprocess
from collections import deque
from dataclasses import dataclass, field

from . import topology
from .errors import LabError
from .system import wait_until

FIN, SYN, RST, ACK = 1, 2, 4, 16
ROOM_MIN = 4 * 1460  # below it a sender may rightly wait for a larger window (RFC 9293 3.8.6.2.1)


class Capture:
    def __init__(self, state, host, device):
        self.path = state.host_dir("demo") / f"{host}.pcap"
        self._log = self.path.with_suffix(".log")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                state.engine.enter(host) + ["tcpdump", "--immediate-mode", "-U", "-n", "-s", "128", "-B", "32768", "-Z", "root", "-i", device,
                                            "-w", str(self.path), "tcp"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not wait_until(lambda: b"listening on" in self._log.read_bytes() or self._process.poll() is not None, 10, 0.05):
            raise LabError("tcpdump does not listen", self._log)

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def dropped(self):
        words = self._log.read_text(errors="replace").split()
        return int(words[words.index("dropped") - 2]) if "dropped" in words else 0


@dataclass
class Flow:
    """One connection of the client to the VIP."""
    resets: list = field(default_factory=list)  # times of RSTs from the VIP
    vip_fin: float = 0.0                        # first FIN from the VIP
    client_fin: float = 0.0
    packets: int = 0
    ack_wait: float = 0.0                       # longest time from a byte's first sending to its acknowledgement
    data_wait: float = 0.0                      # longest time in which the client's window was open and no data came
    unacked: deque = field(default_factory=deque)
    sent_to: int = None                         # end of the client's data
    scale: int = 0                              # of the client's window
    received_to: int = None                     # end of the VIP's data
    waits_since: float = 0.0
    room: int = 0                               # what the client's window still takes

    def on_vip_data(self, when, end):
        if self.waits_since:
            self.data_wait = max(self.data_wait, when - self.waits_since)
        if self.received_to is None or 0 < (end - self.received_to) & 0xFFFFFFFF < 1 << 31:
            if self.received_to is not None:
                self.room -= (end - self.received_to) & 0xFFFFFFFF
            self.received_to = end
        self.waits_since = when if self.room >= ROOM_MIN else 0.0

    def on_client_ack(self, when, acknowledged, window):
        if self.received_to is None:
            return
        edge = (acknowledged + (window << self.scale)) & 0xFFFFFFFF
        room = (edge - self.received_to) & 0xFFFFFFFF
        self.room = room if room < 1 << 31 else 0
        if self.room >= ROOM_MIN and not self.waits_since:
            self.waits_since = when


def _packets(path):
    """(time, source, destination, TCP header, payload length) of each TCP packet in an Ethernet capture."""
    data = path.read_bytes()
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, _ = struct.unpack_from("<IIII", data, at)
        frame = data[at + 16:at + 16 + kept]
        at += 16 + kept
        kind = frame[12:14]
        if kind == b"\x08\x00" and frame[23] == 6:
            size = struct.unpack_from(">H", frame, 16)[0]
            head = (frame[14] & 15) * 4
            source, target, tcp, size = frame[26:30], frame[30:34], frame[14 + head:], size - head
        elif kind == b"\x86\xdd" and frame[20] == 6:
            size = struct.unpack_from(">H", frame, 18)[0]
            source, target, tcp = frame[22:38], frame[38:54], frame[54:]
        else:
            continue
        if len(tcp) >= 20:
            yield seconds + micros / 1e6, source, target, tcp, size - (tcp[12] >> 4) * 4


def _window_scale(tcp):
    at, end = 20, (tcp[12] >> 4) * 4
    while at + 1 < min(end, len(tcp)) and tcp[at] != 0:
        if tcp[at] == 1:
            at += 1
            continue
        if tcp[at] == 3:
            return tcp[at + 2]
        at += max(2, tcp[at + 1])
    return 0


def read(path):
    """{(family, client port, VIP port): Flow}"""
    vips = {ipaddress.ip_address(topology.VIP4).packed: 4, ipaddress.ip_address(topology.VIP6).packed: 6}
    flows = {}
    for when, source, target, tcp, size in _packets(path):
        source_port, target_port, sequence, acknowledged = struct.unpack_from(">HHII", tcp)
        flags = tcp[13]
        if source in vips:
            flow = flows.setdefault((vips[source], target_port, source_port), Flow())
            if flags & RST:
                flow.resets.append(when)
            if flags & FIN:
                flow.vip_fin = flow.vip_fin or when
            while flags & ACK and flow.unacked and (acknowledged - flow.unacked[0][0]) & 0xFFFFFFFF < 1 << 31:
                flow.ack_wait = max(flow.ack_wait, when - flow.unacked.popleft()[1])
            if size > 0:
                flow.on_vip_data(when, (sequence + size) & 0xFFFFFFFF)
        elif target in vips:
            flow = flows.setdefault((vips[target], source_port, target_port), Flow())
            if flags & FIN:
                flow.client_fin = flow.client_fin or when
            end = (sequence + size) & 0xFFFFFFFF
            if size > 0 and (flow.sent_to is None or 0 < (end - flow.sent_to) & 0xFFFFFFFF < 1 << 31):
                flow.unacked.append((end, when))
                flow.sent_to = end
            if flags & SYN:
                flow.scale = _window_scale(tcp)
            else:
                flow.on_client_ack(when, acknowledged, struct.unpack_from(">H", tcp, 14)[0])
        else:
            continue
        flow.packets += 1
    return flows


def data_packets(path):
    """(time, (family, client port, VIP port), bytes of data) of each packet with data, in both directions."""
    vips = {ipaddress.ip_address(topology.VIP4).packed: 4, ipaddress.ip_address(topology.VIP6).packed: 6}
    for when, source, target, tcp, size in _packets(path):
        ports = struct.unpack_from(">HH", tcp)
        if size > 0 and (source in vips or target in vips):
            yield when, (vips[source], ports[1], ports[0]) if source in vips else (vips[target], *ports), size


def unexpected_fins(flows, end_of_tour):
    """FINs from the VIP before the client's own, while the tour was still going on."""
    return sum(1 for flow in flows.values()
               if flow.vip_fin and flow.vip_fin < end_of_tour and not 0 < flow.client_fin < flow.vip_fin)
