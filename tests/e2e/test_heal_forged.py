"""Forged packets against living sessions: a blind spoofer at client2, and one that sees everything, at client1. Nothing lasts."""
import json
import struct
import time

import pytest
from kit_eb import PATIENCE, send_packets
from kit_heal import (FAMILIES, VIPS, Nudges, Talk, apps_of, download, healed, known_everywhere, ledger, marks, no_resets, owner_of, said, tcp_of,
                      two_of_each)
from lab import wait_until
from labkit import demo_capture

SLOT = 1 << 20  # PROTOCOL.md, Slot: ids are this many milliseconds apart
GRACE = 5  # seconds: claim_actions.hpp, the first; each further one is longer


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")


def timestamps_of(tcp):
    at, end = 20, (tcp[12] >> 4) * 4
    while at + 1 < end and tcp[at] != 0:
        if tcp[at] == 8:
            return struct.unpack_from(">II", tcp, at + 2)
        at += 1 if tcp[at] == 1 else max(2, tcp[at + 1])
    return None


def seen(lab, talk):
    """{seq, ack, tsval, echo} of the client's next packet after a whole answer."""
    with Nudges(lab, "client1") as wire:
        assert talk.get("/say?id=look")[0] == 200
        last = None
        while last is None or last["size"]:
            parts = tcp_of(wire.frame())
            if parts and parts[1] in VIPS and struct.unpack_from(">H", parts[2])[0] == talk.port:
                tcp = parts[2]
                seq, ack = struct.unpack_from(">II", tcp, 4)
                value, echo = timestamps_of(tcp)
                last = {"seq": seq, "ack": ack, "tsval": value, "echo": echo, "size": len(tcp) - (tcp[12] >> 4) * 4,
                        "family": talk.family, "port": talk.port}
    return last


KINDS = """
def kinds(f, r):
    '''name: (flags, seq, ack, (tsval, echo), payload); r: random where the spoofer knows nothing'''
    seq, ack, ts = (r(), r(), r()) if BLIND else (f["seq"], f["ack"], f["tsval"])
    echo = f["echo"]
    for node in (2, 3, 77):
        yield "A", seq, ack, (ts, (echo + (node - 1) * SLOT) % 2**32), b""
        yield "PA", seq, ack, (ts, (echo + (node - 1) * SLOT + 2**22) % 2**32), b"forged"
    for ahead in (2**16 + 2, 2**17, 2**22, 2**24, 2**30):
        yield "A", seq, ack, (ts, (echo + ahead) % 2**32), b""
        yield "A", (seq - 1) % 2**32, (ack + 1000) % 2**32, (ts, (echo + ahead) % 2**32), b""
    if BLIND:
        yield "R", r(), r(), None, b""
        yield "S", r(), 0, (r(), 0), b""
        yield "FA", r(), r(), (r(), echo), b""
        yield "PA", r(), r(), None, b"forged"
"""


def forge(lab, host, flows, blind, times):
    """Sends `times` of each kind for each flow, in the client's name; how many packets."""
    return int(send_packets(lab, host, f"""
BLIND, SLOT = {blind}, {SLOT}
flows = {json.dumps(flows)}
r = lambda: random.randrange(2**32)
{KINDS}
count = 0
s4, s6 = conf.L3socket(), conf.L3socket6()
for _ in range({times}):
    for f in flows:
        for flags, seq, ack, ts, data in kinds(f, r):
            head = IP(src="198.19.1.10", dst="203.0.113.10") if f["family"] == 4 else IPv6(src="fd00:5:c1::10", dst="2001:db8:113::10")
            p = head/TCP(sport=f["port"], dport=9000, flags=flags, seq=seq, ack=ack, window=500, options=[("Timestamp", ts)] if ts else [])/data
            (s4 if f["family"] == 4 else s6).send(p)
            count += 1
print(count)
""").split()[-1])


def total(lab, name):
    return sum(lab.metric(pop, name) for pop in ("pop1", "pop2", "pop3"))


def frozen(lab):
    return total(lab, "suture_sessions_frozen_total") - total(lab, "suture_sessions_thawed_total")


@pytest.mark.parametrize("who,blind", [("client2", True), ("client1", False)])
def test_forged_echoes_and_strays_against_living_sessions(lab, who, blind):
    """Another node's slot, fences that nobody sent (an echo ahead), strays: the owner stays the owner, and the client gets its bytes."""
    size = 1_000_000
    idle = two_of_each(lab)
    if not blind:
        lab.ok("switch", "client1", "pop2")  # forged packets and true ones arrive where the owner is not
        lab.ok("switch", "client1", "pop1")
    readers = [download(Talk(lab, "client1", family), size) for family in FAMILIES]
    known_everywhere(lab, idle)
    flows = [seen(lab, talk) for talk in idle] + [{**seen(lab, talk), "port": reader.talk.port}
                                                   for talk, reader in zip(idle, readers)]
    since, claims, before = marks(lab), total(lab, "suture_claims_proven_total"), total(lab, "suture_claims_open")
    nudges, still_frozen = total(lab, "suture_nudges_total"), frozen(lab)
    freezes, began = total(lab, "suture_sessions_frozen_total"), time.monotonic()
    with lab.capture("client1", "tcp") as capture:
        count = forge(lab, who, flows, blind, 10)
        for number, talk in enumerate(idle):
            assert talk.get(f"/say?id={number}") == said("pop1", number)
        for reader in readers:
            reader.check()
        wait_until(lambda: total(lab, "suture_claims_open") <= before, PATIENCE, what="no flow under suspicion any more")
        for number, talk in enumerate(idle + [reader.talk for reader in readers]):
            assert talk.get(f"/say?id={number}") == said("pop1", number)
            assert owner_of(lab, "pop3", talk) == 1
            talk.nothing_more()
    assert healed(lab, since) == [] and total(lab, "suture_claims_proven_total") == claims
    assert frozen(lab) == still_frozen, "frozen, and not thawed"
    freezes = total(lab, "suture_sessions_frozen_total") - freezes
    assert freezes <= len(flows) * (1 + (time.monotonic() - began) // GRACE), "a forger who goes on freezes a session again and again"
    no_resets(capture)
    assert demo_capture.unexpected_fins(capture.flows(), time.time()) == 0
    print(f"\n{count} forged packets from {who}: {freezes:.0f} freezes of {len(flows)} sessions, "
          f"{total(lab, 'suture_nudges_total') - nudges:.0f} probes, "
          f"stall {max(reader.stall for reader in readers) * 1000:.0f} ms")


def test_forged_packets_of_a_session_whose_owner_is_cut_off_but_living(lab):
    """A stray in a living node's name does not take its session, also where its owner cannot be heard for the moment."""
    idle = two_of_each(lab)
    known_everywhere(lab, idle)
    flows = [seen(lab, talk) for talk in idle]
    since, before = marks(lab), total(lab, "suture_claims_open")
    lab.ok("cut", "pop1", "pop3")
    wait_until(lambda: lab.metric("pop3", "suture_peer_up", peer="1") == 0, PATIENCE, what="pop3 calls pop1 dead")
    forge(lab, "client2", flows, True, 5)  # client2 is at pop3, which hears nothing of the owner
    for number, talk in enumerate(idle):
        assert talk.get(f"/say?id={number}") == said("pop1", number), "taken by a packet that the client never sent"
    lab.ok("mend", "pop1", "pop3")
    wait_until(lambda: total(lab, "suture_claims_open") <= before, PATIENCE, what="no flow under suspicion any more")
    for number, talk in enumerate(idle):
        assert talk.get(f"/say?id={number}") == said("pop1", number)
        talk.nothing_more()
    assert healed(lab, since) == []
