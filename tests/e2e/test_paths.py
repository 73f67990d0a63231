"""The way between client and PoP: full-size segments, a smaller MTU behind them, strict reverse-path checks."""
import ipaddress
import struct
import time

import pytest
from kit_ea import echo_apps, forwarded, sessions
from lab import VIP, wait_until
from labkit import demo_capture, demo_sessions

TRANSFERS = [demo_sessions.FileDownload, demo_sessions.Upload]
FRAGMENTS = ["(ip[6:2] & 0x3fff != 0) or (ip6[6] == 44)"]
SMALL_MTU = 1300


def captured(capture):
    """Bytes of packets in a capture file, less its header."""
    return max(0, capture.path.stat().st_size - 24)


@pytest.fixture
def no_offload(lab):
    """Packets of at most one MTU on every device of the lab, as on a wire: no segmentation offload, no coalescing."""
    devices = [(name, link.other(name)) for name, host in lab.state.topology().hosts.items() for link in host.links]

    def offload(state):
        for host, device in devices:
            done = lab.inside(host, ["ethtool", "-K", device, "tso", state, "gso", state, "gro", state])
            assert done.returncode == 0, done.stderr
    offload("off")
    yield
    offload("on")


@pytest.fixture
def narrow(lab):
    """narrow(mtu): core1's device towards client1 gets this MTU; the client itself does not know."""
    def device(mtu):
        done = lab.inside("core1", ["ip", "link", "set", "client1", "mtu", mtu])
        assert done.returncode == 0, done.stderr
    yield device
    device(1500)
    for pop in lab.status()["pops"]:
        for family in ("-4", "-6"):
            lab.inside(pop["name"], ["ip", family, "route", "flush", "cache"])


def largest(going, direction):
    """The largest TCP payload of one packet at the client, by direction ("from" or "to" the VIP) and family."""
    found = {4: 0, 6: 0}
    for (family, _, _), sizes in going.sizes.items():
        found[family] = max(found[family], sizes[direction])
    return found


def payload_sizes(path):
    """{(family, client port, VIP port): {"from": bytes, "to": bytes}}: the largest payload each way."""
    vips = {ipaddress.ip_address(VIP[family]).packed: family for family in (4, 6)}
    sizes = {}
    for _, source, target, tcp, size in demo_capture._packets(path):
        source_port, target_port = struct.unpack_from(">HH", tcp)
        key, direction = (((vips[source], target_port, source_port), "from") if source in vips
                          else ((vips[target], source_port, target_port), "to") if target in vips else (None, None))
        if key:
            entry = sizes.setdefault(key, {"from": 0, "to": 0})
            entry[direction] = max(entry[direction], size)
    return sizes


def test_full_size_segments_are_forwarded_unfragmented(lab, no_offload):
    """MTU 1500 everywhere: the tunnel's header has to fit as well, so the MSS is clamped from the first SYN on."""
    before = forwarded(lab, "pop2")
    with lab.capture("pop1", *FRAGMENTS) as at_owner, lab.capture("pop2", *FRAGMENTS) as at_forwarder:
        with lab.capture("client1", "tcp") as seen:
            with sessions(lab, kinds=TRANSFERS) as going:
                lab.ok("switch", "client1", "pop2")
                going.heard_again()
    going.check("full-size segments forwarded")
    assert forwarded(lab, "pop2") > before + 1000
    assert captured(at_owner) == captured(at_forwarder) == 0, "a fragment was seen on the underlay"
    going.sizes = payload_sizes(seen.path)
    up, down = largest(going, "to"), largest(going, "from")
    # Not above what fits in VXLAN over the IPv4 underlay (50 bytes more, 12 of timestamps less), and not needlessly small.
    for family, headers in ((4, 40), (6, 60)):
        assert 1300 <= up[family] <= 1500 - 50 - headers - 12, up
        assert 1300 <= down[family] <= 1500 - headers - 12, down
    print(f"largest payloads: up {up}, down {down}")


def test_smaller_mtu_behind_the_pop_that_gets_the_icmp(lab, narrow):
    """Path MTU discovery of the owner works although the ICMP error arrives at another PoP."""
    def told(pop):
        return lab.metric(pop, "suture_steer_packets_total", rung="icmp_forwarded")
    before = told("pop2")
    # No uploads: a veth with a smaller MTU drops what its other end sends too large, and says nothing (a segment that is
    # part of a GSO packet passes, its retransmission does not).
    with sessions(lab, kinds=[kind for kind in TRANSFERS if kind is not demo_sessions.Upload]) as going:
        lab.ok("switch", "client1", "pop2")
        going.heard_again()
        narrow(SMALL_MTU)
        narrowed = time.monotonic()
        wait_until(lambda: told("pop2") > before, 30, what="an ICMP error forwarded by pop2")
        print(f"\nICMP error forwarded {(time.monotonic() - narrowed) * 1000:.0f} ms after the MTU fell")
        going.heard_again()
    going.check("smaller MTU, error at another PoP")


def test_smaller_mtu_of_the_client_itself(lab, narrow):
    """The client's own link is narrow from the start, and it says so in its SYN."""
    done = lab.inside("client1", ["ip", "link", "set", "core1", "mtu", SMALL_MTU])
    assert done.returncode == 0, done.stderr
    try:
        narrow(SMALL_MTU)
        with sessions(lab, kinds=TRANSFERS) as going:
            lab.ok("switch", "client1", "pop2")
            going.heard_again()
        going.check("client with a smaller MTU")
    finally:
        lab.inside("client1", ["ip", "link", "set", "core1", "mtu", 1500])


def test_strict_reverse_path_with_return_tunnel(new_lab):
    """A PoP that has no route of the VIP may not send from it: answers go back through the PoP that forwarded."""
    lab = new_lab("--strict-rpf")
    echo_apps(lab)
    with sessions(lab) as going:
        # pop3 hangs on core2 only, pop1 on core1 only: what pop1 sends itself is dropped at core1 once core1 prefers pop3.
        for pop in ("pop2", "pop3"):
            lab.ok("switch", "client1", pop)
            going.heard_again()
    going.check("strict reverse path, return tunnel")
    for pop in ("pop2", "pop3"):
        assert forwarded(lab, pop) > 0
    assert lab.metric("pop1", "suture_steer_packets_total", rung="egress_return_tunnel") > 0
    assert sum(lab.metric(pop, "suture_steer_packets_total", rung="tunnel_returned") for pop in ("pop2", "pop3")) > 0
