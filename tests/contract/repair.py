"""TCP_REPAIR by socket options alone: what is read of a connection, and how it is built anew (KERNEL.md, tcp.c)."""
import dataclasses
import errno
import fcntl
import socket
import struct

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS, TCP_TIMESTAMP = 19, 20, 21, 22, 24
TCP_SAVE_SYN, TCP_SAVED_SYN, TCP_REPAIR_WINDOW = 27, 28, 29
RECV_QUEUE, SEND_QUEUE = 1, 2
REPAIR_ON, REPAIR_OFF, REPAIR_OFF_NO_PROBE = 1, 0, -1
SO_MARK = 36
IPV6_FLOWINFO_SEND = 33
OPT_TIMESTAMPS, OPT_SACK, OPT_WSCALE = 1, 2, 4  # tcpi_options

_INFO = {"state": (0, "B"), "retransmits": (2, "B"), "backoff": (4, "B"), "options": (5, "B"), "scales": (6, "B"),
         "rto": (8, "I"), "snd_mss": (16, "I"), "unacked": (24, "I"), "last_data_recv": (52, "I"),
         "last_ack_recv": (56, "I"), "rtt": (68, "I"), "total_retrans": (100, "I"), "bytes_acked": (120, "Q"),
         "bytes_received": (128, "Q")}


def info(sock, name):
    """One field of tcp_info, units as in linux/tcp.h (rto and rtt in µs, last_* in ms)."""
    offset, code = _INFO[name]
    return struct.unpack_from(code, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232), offset)[0]


def unacked_bytes(sock):
    """SIOCOUTQ: what was written and not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(sock, 0x5411, b"\0" * 4))[0]


def unread_bytes(sock):
    """SIOCINQ."""
    return struct.unpack("i", fcntl.ioctl(sock, 0x541B, b"\0" * 4))[0]


def option(sock, name, value):
    sock.setsockopt(socket.IPPROTO_TCP, name, value if isinstance(value, bytes) else struct.pack("I", value & 0xFFFFFFFF))


def value_of(sock, name):
    return sock.getsockopt(socket.IPPROTO_TCP, name) & 0xFFFFFFFF


def queue_seq(sock, queue):
    option(sock, TCP_REPAIR_QUEUE, queue)
    return value_of(sock, TCP_QUEUE_SEQ)


class repairing:
    """`with repairing(sock):` repair mode that ends without a window probe."""

    def __init__(self, sock):
        self._sock = sock

    def __enter__(self):
        option(self._sock, TCP_REPAIR, REPAIR_ON)

    def __exit__(self, *_):
        option(self._sock, TCP_REPAIR, REPAIR_OFF_NO_PROBE)


@dataclasses.dataclass
class Facts:
    """What a record holds of a connection. `snd`, `rcv`: next sequence number to send and to receive."""
    snd: int
    rcv: int
    mss: int = 1400
    snd_wscale: int = 7
    rcv_wscale: int = 7
    wscale: bool = True
    sack: bool = True
    timestamps: bool = True


def read_facts(sock):
    options, scales = info(sock, "options"), info(sock, "scales")
    with repairing(sock):
        return Facts(snd=queue_seq(sock, SEND_QUEUE), rcv=queue_seq(sock, RECV_QUEUE),
                     mss=info(sock, "snd_mss") + (12 if options & OPT_TIMESTAMPS else 0),
                     snd_wscale=scales & 15, rcv_wscale=scales >> 4, wscale=bool(options & OPT_WSCALE),
                     sack=bool(options & OPT_SACK), timestamps=bool(options & OPT_TIMESTAMPS))


def read_clock(sock):
    """The TSval that the socket would send now."""
    with repairing(sock):
        return value_of(sock, TCP_TIMESTAMP)


def set_clock(sock, tsval):
    with repairing(sock):
        option(sock, TCP_TIMESTAMP, tsval)


def open_in_repair(local, peer, facts, label=None):
    """Steps 1 to 5 of the order in KERNEL.md: connected, no options yet, still in repair mode."""
    v6 = ":" in local[0]
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
    option(sock, TCP_REPAIR, REPAIR_ON)
    sock.bind(local)
    option(sock, TCP_REPAIR_QUEUE, SEND_QUEUE)
    option(sock, TCP_QUEUE_SEQ, facts.snd)
    option(sock, TCP_REPAIR_QUEUE, RECV_QUEUE)
    option(sock, TCP_QUEUE_SEQ, facts.rcv)
    if label is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)
        peer = (*peer[:2], label, 0)
    sock.connect(peer[:2] if label is None else peer)
    return sock


def repair_options(facts, leave_out_wscale=False):
    """MSS, WSCALE (0 and 0 where the handshake had none: test_rebuild.py says why), SACK_PERM, TIMESTAMP."""
    words = [(2, facts.mss)]
    if not leave_out_wscale:
        words.append((3, facts.snd_wscale | facts.rcv_wscale << 16))
    if facts.sack:
        words.append((4, 0))
    if facts.timestamps:
        words.append((8, 0))
    return b"".join(struct.pack("II", *word) for word in words)


def rebuild(local, peer, facts, tsval=None, snd_wnd=65535, rcv_wnd=65535, label=None, end=REPAIR_OFF_NO_PROBE,
            leave_out_wscale=False):
    """A socket at (facts.snd, facts.rcv); windows in bytes. `end` None leaves it in repair mode."""
    sock = open_in_repair(local, peer, facts, label)
    option(sock, TCP_REPAIR_OPTIONS, repair_options(facts, leave_out_wscale))
    if facts.timestamps:
        option(sock, TCP_TIMESTAMP, tsval)
    before = (facts.rcv - 1) & 0xFFFFFFFF
    option(sock, TCP_REPAIR_WINDOW, struct.pack("5I", before, snd_wnd, max(snd_wnd, 1), rcv_wnd, facts.rcv))
    if end is not None:
        option(sock, TCP_REPAIR, end)
    return sock


def close_silently(sock):
    option(sock, TCP_REPAIR, REPAIR_ON)
    sock.close()


def refusal(function, *arguments):
    """The name of the error that a call ends with, or None."""
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None
