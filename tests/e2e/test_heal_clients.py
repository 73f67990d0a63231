"""Clients of every make outlive a power cut: without timestamps, without SACK, with a closed window, behind NAT, far away and lossy."""
import contextlib
import struct
import time

import pytest
from kit_eb import PATIENCE
from kit_heal import (FAMILIES, VIPS, Nudges, Talk, apps_of, by, cpu_seconds, cut_power, directory, download, known_everywhere, ledger, marks, names, no_resets,
                      pattern, said, spread, swallowed, tcp_of, told, two_of_each, wait_healed)
from lab import wait_until
from labkit import demo_capture


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")


@contextlib.contextmanager
def sysctls(lab, **values):
    defaults = {"net_ipv4_tcp_timestamps": 1, "net_ipv4_tcp_sack": 1}
    lab.sysctl("client1", **values)
    try:
        yield
    finally:
        lab.sysctl("client1", **{key: defaults[key] for key in values})


@contextlib.contextmanager
def behind_nat(lab):
    """core1 translates client1's addresses, and drops what conntrack calls INVALID."""
    rules = "".join(f"table {table} m3nat {{ chain post {{ type nat hook postrouting priority 100; {table} saddr {own} snat to {other}; }}\n"
                    f"chain through {{ type filter hook forward priority 0; ct state invalid counter drop; }}\n}}\n"
                    for table, own, other in (("ip", "198.19.1.10", "198.19.1.200"), ("ip6", "fd00:5:c1::10", "fd00:5:c1::200")))
    done = lab.inside("core1", ["nft", "-f", "-"], input=rules, stdin=None)
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        lab.inside("core1", ["nft", "delete table ip m3nat; delete table ip6 m3nat"])


@contextlib.contextmanager
def far_and_lossy(lab):
    lab.ok("link", "client1", "--delay", 80, "--loss", 1)
    try:
        yield
    finally:
        lab.ok("link", "client1")


CLIENTS = {
    "no-timestamps": lambda lab: sysctls(lab, net_ipv4_tcp_timestamps=0),
    "no-sack": lambda lab: sysctls(lab, net_ipv4_tcp_sack=0),
    "no-timestamps-no-sack": lambda lab: sysctls(lab, net_ipv4_tcp_timestamps=0, net_ipv4_tcp_sack=0),
    "nat": behind_nat,
    "80ms-1pct": far_and_lossy,
}


@pytest.mark.parametrize("make", CLIENTS)
def test_power_cut(lab, make):
    """Idle connections, downloads, and a GET that the dead owner had passed on."""
    size = 600_000
    with CLIENTS[make](lab):
        idle, waiting = two_of_each(lab, count=4), two_of_each(lab)
        for talk in waiting:
            talk.send("GET", f"/pay?id={make}{talk.family}&silent=pop1")
        for talk in waiting:
            wait_until(lambda t=talk: ledger(lab, f"{make}{t.family}"), PATIENCE, what="the GET at the application")
        readers = [download(Talk(lab, "client1", family), size, 150_000) for family in FAMILIES for _ in range(2)]
        talks = idle + waiting + [reader.talk for reader in readers]
        known_everywhere(lab, talks)
        since = marks(lab)
        with lab.capture("client1", "tcp") as capture:
            cut_power(lab, "pop1")
            # What a client without SACK sends before that may meet an answer of the dead owner's: an RST.
            wait_healed(lab, since, idle)
            for number, talk in enumerate(idle):
                assert talk.get(f"/say?id={number}") == said("pop2", number)
            # Without SACK an own response fits nowhere that the old owner may have written to; it says so by an RST.
            ends = waiting if "no-sack" in make else []
            for talk in ends:
                assert talk.end() == "reset"
            for talk in [] if ends else waiting:
                assert talk.response() == said("pop2", f"{make}{talk.family}")
            for reader in readers:
                reader.check()
            for talk in idle + [reader.talk for reader in readers]:
                assert talk.get("/say?id=on") == said("pop2", "on")
                talk.nothing_more()
            stories = wait_healed(lab, since, talks)
        no_resets(capture, but={talk.port for talk in ends})
        assert by(stories, "rung").get("range") == len(readers), "the downloads were not under way"
        assert demo_capture.unexpected_fins(capture.flows(), time.time()) == 0
        for talk in talks:  # before the client's way to us changes again
            talk.socket.close()
        wait_until(lambda: not directory(lab, "pop2").keys() & names(talks), PATIENCE, what="the sessions' end")
        print(f"\n{make}: by rung {by(stories, 'rung')}, reasons {by(stories, 'reason')}, stalls {spread([r.stall * 1000 for r in readers])}, "
              f"claim to going on {spread([float(one['resumed_ms']) for one in stories])}")


def wait_window_closed(lab, talks):
    """Until each client has told its server that its window is zero."""
    left = {talk.port for talk in talks}
    with Nudges(lab, "client1") as wire:
        while left:
            parts = tcp_of(wire.frame())
            if parts and parts[1] in VIPS and struct.unpack_from(">H", parts[2], 14)[0] == 0 and not parts[2][13] & 6:
                left.discard(struct.unpack_from(">H", parts[2])[0])


def test_power_cut_while_the_clients_window_is_zero(lab):
    """The client does not read. The heir waits as the owner did, and goes on when there is room."""
    size = 400_000
    talks = [Talk(lab, "client1", family, rcvbuf=8192) for family in FAMILIES for _ in range(2)]
    for talk in talks:
        talk.send("GET", f"/file?n={size}")
    wait_window_closed(lab, talks)
    known_everywhere(lab, talks)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        stories = wait_healed(lab, since, talks)
        for talk in talks:
            status, headers = talk.head()
            assert (status, headers["x-app-pop"]) == (200, "pop1")
            assert talk.body(size) == pattern(size)
            assert talk.get("/say?id=on") == said("pop2", "on")
            talk.nothing_more()
    no_resets(capture)
    assert by(stories, "rung") == {"range": 4}


@pytest.mark.parametrize("seen_by", ["carrier loss", "BFD"])
def test_detection_and_stall(lab, seen_by):
    """Numbers only: a death that the routers see by carrier loss, or by BFD alone (3 x 150 ms in the lab)."""
    size = 700_000
    readers = [download(Talk(lab, "client1", family), size, 200_000) for family in FAMILIES for _ in range(20)]
    idle = two_of_each(lab, count=20)
    talks = idle + [reader.talk for reader in readers]
    known_everywhere(lab, talks)
    since = marks(lab)
    for reader in readers:
        reader.beyond(0)
        reader.stall = 0.0
    spent = cpu_seconds(lab, "pop2")
    now = time.time()
    today = now % 86400
    with contextlib.ExitStack() as until_the_end:
        if seen_by == "BFD":
            until_the_end.enter_context(swallowed(lab, "pop1"))
        else:
            cut_power(lab, "pop1")
        stories = wait_healed(lab, since, talks)
        spent = cpu_seconds(lab, "pop2") - spent
        for reader in readers:
            reader.check()
        for talk in idle:
            assert talk.get("/say?id=on") == said("pop2", "on")
    if seen_by == "BFD":  # it lives, and hears whose they are now while they still are
        wait_until(lambda: lab.stats("pop1")["active_sessions"] == 0, PATIENCE, what="pop1 has released what others own")
    downs = [one for one in told(lab, "peer_down", since) if one["pop"] == "pop2"]
    print(f"\ndeath seen by {seen_by}, {len(talks)} sessions (sanitizer build if that is what SUTURE_BIN is):")
    print(f"death to 'peer_down' at the heir: {(downs[0]['time'] - today) * 1000 if downs else -1:.0f} ms")
    print(f"death to session going on: {spread([(one['time'] - today) * 1000 for one in stories])}")
    print(f"the claim's first packet to the client's proof: {spread([float(one['proven_ms']) for one in stories])}; "
          f"to the first byte: {spread([float(one['resumed_ms']) for one in stories])}")
    print(f"nudges per claim: {by(stories, 'nudges')}, fences of them: {by(stories, 'fences')}; "
          f"rebuild {spread([float(one['rebuild_us']) for one in stories], 'us')}; by rung {by(stories, 'rung')}")
    print(f"CPU of the heir's process from the death to the last heal, per session: {spent / len(talks) * 1e6:.0f} us")
    print(f"stall of a download: {spread([reader.stall * 1000 for reader in readers])}")
