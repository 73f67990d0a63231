"""Flows that are split for good: the SYN reaches one PoP, everything else another, as with routers that hash on TTL or ECN.

Also the other way round of the same trouble: a middlebox between client and router that keeps state (NAT with conntrack)."""
import contextlib

import pytest
from kit_ea import echo_apps, forwarded, sessions
from lab import VIP
from labkit import netns

SYN_MARK, REST_MARK = 0x501, 0x502


@pytest.fixture(autouse=True)
def applications(lab):
    echo_apps(lab)


def nft(lab, rules):
    done = lab.inside("core1", ["nft", "-f", "-"], stdin=None, input=rules)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def split(lab, syn_to, rest_to):
    """core1 sends client1's SYNs to one PoP and all its other packets to another."""
    links = {pop: lab.state.topology().hosts[pop].link_to("core1") for pop in (syn_to, rest_to)}
    lines = {4: [], 6: []}
    for mark, pop in ((SYN_MARK, syn_to), (REST_MARK, rest_to)):
        for family, address in ((4, links[pop].addr4[pop]), (6, links[pop].addr6[pop])):
            lines[family] += [f"route add default via {address} dev {pop} table {mark}", f"rule add fwmark {mark} lookup {mark} pref 50"]
    try:
        for family in (4, 6):
            netns.ip_batch(lab.state, "core1", lines[family], family=family if family == 6 else None)
        nft(lab, f"""table inet split {{ chain choose {{ type filter hook prerouting priority mangle;
  iifname "client1" ip daddr {VIP[4]} tcp flags & (syn|ack) == syn counter meta mark set {SYN_MARK}
  iifname "client1" ip daddr {VIP[4]} tcp flags & (syn|ack) != syn counter meta mark set {REST_MARK}
  iifname "client1" ip6 daddr {VIP[6]} tcp flags & (syn|ack) == syn counter meta mark set {SYN_MARK}
  iifname "client1" ip6 daddr {VIP[6]} tcp flags & (syn|ack) != syn counter meta mark set {REST_MARK}
}}
}}
""")
        yield
    finally:
        lab.inside("core1", ["nft", "delete", "table", "inet", "split"])
        for family in ("-4", "-6"):
            for mark in (SYN_MARK, REST_MARK):
                lab.inside("core1", ["ip", family, "rule", "del", "fwmark", mark])
                lab.inside("core1", ["ip", family, "route", "flush", "table", mark])


@pytest.mark.parametrize("timestamps", [1, 0], ids=["timestamps", "no timestamps"])
def test_split_for_good(lab, timestamps):
    lab.sysctl("client1", **{"net_ipv4_tcp_timestamps": timestamps})
    before = forwarded(lab, "pop2")
    try:
        with split(lab, "pop1", "pop2"):
            with sessions(lab, seconds=4) as going:
                going.heard_again()
            going.check(f"split for good, timestamps {timestamps}")
    finally:
        lab.sysctl("client1", **{"net_ipv4_tcp_timestamps": 1})
    assert {one.pop for one in going.sessions if one.pop} == {"pop1"}
    assert forwarded(lab, "pop2") > before + 100


@pytest.mark.parametrize("family", [4, 6])
def test_client_behind_nat_with_conntrack(lab, family):
    """The router in front of the client translates, and drops what its connection tracking calls invalid."""
    core = lab.state.topology().hosts["client1"].links[0]
    address, ip = (core.addr4["core1"], "ip") if family == 4 else (core.addr6["core1"], "ip6")
    client = lab.state.topology().hosts["client1"]
    source = client.addr4 if family == 4 else client.addr6
    nft(lab, f"""table {ip} nat_ea {{
  chain out {{ type nat hook postrouting priority srcnat; {ip} saddr {source} {ip} daddr {VIP[family]} counter snat to {address}; }}
  chain checked {{ type filter hook forward priority filter;
    {ip} daddr {VIP[family]} ct state invalid counter drop
    {ip} saddr {VIP[family]} ct state invalid counter drop
  }}
}}
""")
    try:
        with sessions(lab, seconds=5) as going:
            for pop in ("pop2", "pop3"):
                lab.ok("switch", "client1", pop)
                going.heard_again()
        going.check(f"behind NAT (IPv{family})")
        rules = lab.inside("core1", ["nft", "list", "table", ip, "nat_ea"]).stdout
        assert "packets 0 bytes 0 snat" not in rules, "the NAT was not in the way"
    finally:
        lab.inside("core1", ["nft", "delete", "table", ip, "nat_ea"])
