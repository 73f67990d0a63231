"""Floods, garbage and unknown flows: counted, bounded, and nothing else happens; the sessions go on."""
import json
import pathlib
import re
import socket
import struct
import subprocess

import pytest
from kit_eb import PATIENCE, Download, KeepAlive, knows, rung, send_packets, silent_flow, suture_pid, who
from lab import VIP, wait_until

FAMILIES = [4, 6]
VXLAN_PORT, LIVENESS_PORT, STATESYNC_PORT, ADMIN_PORT = 7102, 7101, 7100, 9180


def test_sessions_accepted_by_syn_cookie_are_healed_and_a_flood_harms_nobody(lab):
    lab.sysctl("pop1", net_ipv4_tcp_syncookies=2)
    try:
        with lab.capture("client1", "tcp and port 80") as capture:
            kept = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
            assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
            assert rung(lab, "pop1", "local_syncookie") >= 2, "accepted without a cookie: the sysctl does nothing"
            downloads = [Download(lab, "client1", family).wait_under_way() for family in FAMILIES]
            # Sources that nobody answers for: the half-open connections stay half-open.
            send_packets(lab, "client1", f"""
for family in (4, 6):
    packets = []
    for n in range(1500):
        one = ip(family)
        one.src = f"198.19.1.{{100 + n % 100}}" if family == 4 else f"fd00:5:c1::{{0x100 + n % 100:x}}"
        packets.append(one / TCP(sport=1024 + n, dport=80, flags="S", seq=n * 7919, options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (n, 0))]))
    send(packets)
""")
            assert rung(lab, "pop1", "syn_local") > 2000
            assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
            assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop1"
            for target in ("pop2", "pop3"):
                lab.ok("switch", "client1", target)
                assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
            for one in downloads:
                one.check()
        for family, one in kept.items():
            silent_flow(capture, family, one.port)
        assert lab.metric("pop1", "suture_accept_hook_errors_total") == 0
    finally:
        lab.sysctl("pop1", net_ipv4_tcp_syncookies=1)


def stray(lab, client, port):
    send_packets(lab, client, f"""
for family in (4, 6): send(ip(family) / TCP(sport={port}, dport=80, flags="A", seq=1000, ack=2000) / b"x")
""")


def verdicts(lab, pop, verdict):
    return lab.metric(pop, "suture_strays_total", verdict=verdict)


def test_an_unknown_flow_gets_its_rst_when_all_peers_are_in_sync_and_none_when_one_is_cut_off(lab):
    wait_until(lambda: lab.metric("pop1", "suture_peer_synced") == 2 and lab.metric("pop1", "suture_peer_up") == 2, PATIENCE)
    before = verdicts(lab, "pop1", "reset")
    with lab.capture("client1", "tcp and port 45001") as capture:
        stray(lab, "client1", 45001)
        wait_until(lambda: verdicts(lab, "pop1", "reset") == before + 2, PATIENCE, what="both reset")
    flows = capture.flows()
    assert [len(flows[family, 45001, 80].resets) for family in FAMILIES] == [1, 1]
    lab.ok("cut", "pop1", "pop3")
    wait_until(lambda: lab.metric("pop1", "suture_peer_up", peer="3") == 0, PATIENCE, what="pop1 calls pop3 dead")
    before = verdicts(lab, "pop1", "drop_unproven")
    with lab.capture("client1", "tcp and port 45002") as capture:
        stray(lab, "client1", 45002)
        wait_until(lambda: verdicts(lab, "pop1", "drop_unproven") == before + 2, PATIENCE, what="both left unanswered")
    assert [len(capture.flows()[family, 45002, 80].resets) for family in FAMILIES] == [0, 0]
    assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop1"


def owners_map(lab, pop):
    """Id of the BPF map `owners` that this PoP's process holds open."""
    maps = json.loads(subprocess.run(["bpftool", "-j", "map", "show"], check=True, capture_output=True).stdout)
    named = {one["id"] for one in maps if one.get("name") == "owners"}
    for entry in pathlib.Path(f"/proc/{suture_pid(lab, pop)}/fdinfo").iterdir():
        found = re.search(r"^map_id:\s*(\d+)$", entry.read_text(), re.M)
        if found and int(found[1]) in named:
            return int(found[1])
    raise AssertionError(f"{pop}: no map 'owners' among {len(maps)} maps")


def incarnation(lab, pop):
    return lab.stats(pop)["node"]["incarnation"]


def test_two_nodes_whose_maps_name_each_other_make_no_loop(lab):
    """A flow of which each of pop1 and pop2 believes that the other owns it."""
    wait_until(lambda: lab.metric("pop1", "suture_peer_up") == 2 and lab.metric("pop2", "suture_peer_up") == 2, PATIENCE)
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    port, count = 45100, 300
    mapped = [b"\0" * 10 + b"\xff\xff" + socket.inet_aton(text) for text in (lab.status()["clients"][0]["addr4"], VIP[4])]
    key = mapped[0] + mapped[1] + struct.pack(">HH", port, 80)
    for pop, other in (("pop1", "pop2"), ("pop2", "pop1")):
        value = struct.pack("<B3xI", int(other[3:]), incarnation(lab, other))
        subprocess.run(["bpftool", "map", "update", "id", str(owners_map(lab, pop)), "key", "hex", *(f"{b:02x}" for b in key),
                        "value", "hex", *(f"{b:02x}" for b in value)], check=True, capture_output=True)
    before = {(pop, name): rung(lab, pop, name) for pop in ("pop1", "pop2") for name in ("syn_to_owner", "forward_map", "not_mine", "syn_tunnelled_dropped")}
    with lab.capture("pop1", f"udp and port {VXLAN_PORT}") as capture:
        send_packets(lab, "client1", f"""
send([ip(4) / TCP(sport={port}, dport=80, flags=flags, seq=n, ack=n) for n in range({count}) for flags in ("S", "A")])
""")
        wait_until(lambda: rung(lab, "pop1", "syn_to_owner") > before["pop1", "syn_to_owner"], PATIENCE, what="SYNs forwarded by the wrong map")
        assert kept.ask()[:2] == (200, "pop1")
    text = subprocess.run(["tcpdump", "-nr", str(capture.path), f"udp port {VXLAN_PORT}"], capture_output=True, text=True).stdout
    tunnelled = len(re.findall(r"^\d\d:", text, re.M))
    moved = {where: rung(lab, *where) - value for where, value in before.items()}
    assert 0 < tunnelled <= 2 * count + 10, f"{tunnelled} tunnelled packets for {2 * count} sent: {moved}"
    assert moved["pop2", "syn_to_owner"] == moved["pop2", "forward_map"] == 0, f"forwarded a second time: {moved}"
    assert moved["pop2", "syn_tunnelled_dropped"] > 0
    print(f"\nstale maps: {2 * count} packets sent, {tunnelled} tunnelled")


@pytest.fixture
def busy(lab):
    kept = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
    wait_until(lambda: all(knows(lab, "pop3", one.port) for one in kept.values()), PATIENCE)
    yield
    assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
    lab.ok("switch", "client1", "pop3")
    assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
    assert all(lab.metric(pop, "suture_peer_up") == 2 for pop in ("pop1", "pop2", "pop3"))


def udp(lab, host, port, program):
    return send_packets(lab, host, f"""
import os, socket
random.seed(7)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def to(data): s.sendto(data, ("198.18.0.1", {port}))
{program}
""")


def test_garbage_on_the_vip_port(lab, busy):
    before = lab.metric("pop1", "suture_rejected_total", reason="malformed")
    for family in FAMILIES:
        one = lab.connect("client1", family, 80, PATIENCE)
        one.sendall(b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 8 + b"\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 400")
        one.close()
    assert lab.metric("pop1", "suture_rejected_total", reason="malformed") == before + 2
    malformed = rung(lab, "pop1", "malformed")
    send_packets(lab, "client1", """
for family in (4, 6):
    send(ip(family) / TCP(sport=45200, dport=80, flags="A", dataofs=3))
    send(ip(family) / TCP(sport=45200, dport=80, flags="FSRPAU"))
    send(ip(family) / TCP(sport=45200, dport=80, flags=0))
""")
    wait_until(lambda: rung(lab, "pop1", "malformed") >= malformed + 2, PATIENCE, what="malformed headers counted")


def test_garbage_on_the_vxlan_port(lab, busy):
    before = {name: rung(lab, "pop1", name) for name in ("tunnel_unknown_peer", "tunnel_unknown_kind", "tunnel_inner_not_vip")}
    vxlan = "struct.pack('>II', 0x08000000, (0x537500 | kind) << 8)"
    inner = "bytes(Ether(dst='02:00:00:00:00:01', src='02:00:00:00:00:02') / IP(src='192.0.2.1', dst=d) / TCP(dport=80, flags='A'))"
    for host in ("client1", "pop2"):  # a stranger, and a peer's address
        udp(lab, host, VXLAN_PORT, f"""
import struct
if "{host}" == "pop2": s.bind(("198.18.0.2", 0))
for n in range(50): to(os.urandom(random.randrange(1, 200)))
for kind, d in ((1, "203.0.113.10"), (7, "203.0.113.10"), (1, "198.18.0.1")): to({vxlan} + {inner})
""")
    for name, value in before.items():
        wait_until(lambda n=name, v=value: rung(lab, "pop1", n) > v, PATIENCE, what=f"{name} counted")


def test_garbage_on_the_liveness_port(lab, busy):
    def counted(*results):
        return sum(lab.metric("pop1", "suture_liveness_received_total", result=one)
                   for one in results or ("malformed", "unknown_peer", "forged", "misdirected", "replayed"))
    before = counted()
    udp(lab, "client1", LIVENESS_PORT, "for n in range(100): to(os.urandom(random.randrange(1, 300)))")
    wait_until(lambda: counted() >= before + 90, PATIENCE, what="garbage counted")


@pytest.mark.parametrize("port", [STATESYNC_PORT, ADMIN_PORT])
def test_garbage_on_a_tcp_port_of_the_node(lab, busy, port):
    host, address = ("pop1", "127.0.0.1") if port == ADMIN_PORT else ("client1", "198.18.0.1")
    pid = suture_pid(lab, "pop1")
    refused = lab.metric("pop1", "suture_admin_refused_total", reason="malformed")
    for text in (b"\0" * 3000, b"GET / HTTP/9.9\r\n\r\n" + b"\xff" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xfe" * 2000):
        one = lab.connect_to(host, address, port, PATIENCE)
        try:
            one.sendall(text)
            one.shutdown(1)
            while one.recv(65536):
                pass
        except OSError:
            pass  # reset: as good an answer as any
        finally:
            one.close()
    if port == ADMIN_PORT:
        assert lab.metric("pop1", "suture_admin_refused_total", reason="malformed") > refused
    assert suture_pid(lab, "pop1") == pid
