"""Two nodes that both think a session is theirs, or none that does: one stream for the client in each case."""
import os
import signal
import time

import pytest
from kit_eb import PATIENCE
from kit_heal import (FAMILIES, VIPS, Ended, Nudges, Talk, apps_of, by, cut_power, download, healed, known_everywhere, ledger, marks, no_resets, owner_of,
                      pattern, said, two_of_each, unplug, wait_healed)
from lab import wait_until
from labkit import demo_capture, lifecycle, procs

HEARTBEAT_LIMIT = 0.150  # datapath.heartbeat_limit_ms


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")


def isolate(lab, pop, others):
    for other in others:
        lab.ok("cut", pop, other)
    for other in others:
        wait_until(lambda o=other: lab.metric(o, "suture_peer_up", peer=pop[3:]) == 0, PATIENCE, what=f"{other} calls {pop} dead")


def open_claims(lab, pops=("pop1", "pop2", "pop3")):
    return sum(lab.metric(pop, "suture_claims_open") for pop in pops)


def test_cut_off_owner_serves_other_bytes_while_the_route_flaps(lab):
    """The stream changes hands at most once per claim, never within the bytes of one owner, or it ends."""
    size, claims_before = 800_000, open_claims(lab)
    readers = [download(Talk(lab, "client1", family), size, 100_000, "&own=1") for family in FAMILIES for _ in range(3)]
    talks = [reader.talk for reader in readers]
    since = marks(lab)
    known_everywhere(lab, talks)
    isolate(lab, "pop1", ("pop2", "pop3"))
    for target in ("pop2", "pop1", "pop3", "pop1", "pop2", "pop3") * 4:
        if all(reader.how for reader in readers):
            break
        lab.ok("switch", "client1", target)
        # Each PoP has the client long enough to claim: until it says so, or the streams have ended or gone on.
        before = [len(reader.data) for reader in readers]
        wait_until(lambda b=before: all(reader.how or len(reader.data) > n for reader, n in zip(readers, b)), PATIENCE,
                   what=f"streams going on at {target}")
    for pair in (("pop1", "pop2"), ("pop1", "pop3")):
        lab.ok("mend", *pair)
    for reader in readers:
        reader.join(PATIENCE)
    changes, wanted = 0, pattern(size)
    for reader in readers:
        data, claims = bytes(reader.data), healed(lab, since, [reader.talk])
        assert reader.how in ("whole", "reset"), (reader.how, len(data), claims)
        assert data[1::2] == wanted[1:len(data):2], "a byte is missing, doubled, or nobody's"
        owners = data[0::2]
        assert set(owners) <= {1, 2, 3}
        at = [i for i in range(1, len(owners)) if owners[i] != owners[i - 1]]
        assert len(at) <= len(claims), f"hands changed {len(at)} times at {at}, {len(claims)} claims: {claims}"
        assert all(str(owners[i]) in {one["to"] for one in claims} for i in at), (at, claims)
        changes += len(at)
    assert changes > 0, "no stream changed hands: nothing was tested"
    wait_until(lambda: open_claims(lab) <= claims_before, PATIENCE, what="no flow between two owners")
    print(f"\ncut off, other bytes: {changes} changes of hands in {len(readers)} streams, "
          f"ends {by([{'how': one.how} for one in readers], 'how')}, claims by rung {by(healed(lab, since, talks), 'rung')}")


def test_the_old_owner_returns_and_says_nothing(lab):
    """It lived on, cut off; its segments and its claim to the sessions come back with the mended path."""
    size, before = 1_200_000, lab.stats("pop1")["active_sessions"]
    readers = [download(Talk(lab, "client1", family), size) for family in FAMILIES]
    idle = two_of_each(lab, count=5)
    talks = [reader.talk for reader in readers] + idle
    known_everywhere(lab, talks)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        isolate(lab, "pop1", ("pop2", "pop3"))
        lab.ok("switch", "client1", "pop2")
        for number, talk in enumerate(idle):
            assert talk.get(f"/say?id={number}") == said("pop2", number)
        stories = wait_healed(lab, since, talks)
        for pair in (("pop1", "pop2"), ("pop1", "pop3")):
            lab.ok("mend", *pair)
        for talk in talks:
            wait_until(lambda t=talk: owner_of(lab, "pop1", t) in (2, None), PATIENCE, what="pop1 knows the new owner")
        for reader in readers:
            reader.check()
        lab.ok("switch", "client1", "pop1")
        for number, talk in enumerate(talks):
            assert talk.get(f"/say?id={number}") == said("pop2", number), "forwarded to the new owner"
            talk.nothing_more()
    no_resets(capture)
    assert demo_capture.unexpected_fins(capture.flows(), time.time()) == 0
    wait_until(lambda: lab.stats("pop1")["active_sessions"] <= before, PATIENCE, what="the former owner has let go of every session")
    assert set(by(stories, "rung")) == {"idle", "range"} and {one["to"] for one in stories} == {"2"}
    print(f"\nold owner returns: stall {max(reader.stall for reader in readers) * 1000:.0f} ms, "
          f"released {lab.metric('pop1', 'suture_sessions_released_total'):.0f}")


@pytest.mark.parametrize("nudges_seen", [1, 20, 35])
def test_a_claimant_that_dies_in_the_middle(lab, nudges_seen):
    """The heir is gone as soon as the client has heard so many probes and fences of it; the third PoP heals everything."""
    idle = two_of_each(lab, count=10)
    readers = [download(Talk(lab, "client1", family), 500_000, 100_000) for family in FAMILIES]
    talks = idle + [reader.talk for reader in readers]
    known_everywhere(lab, talks)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture, Nudges(lab, "client1") as nudges:
        first, heir = time.monotonic(), procs.pid_of(lab.state, "pop2", "suture")
        unplug(lab, "pop1")
        nudges.wait(nudges_seen)
        os.kill(heir, signal.SIGKILL)  # at once; pulling its cables takes longer than a whole heal
        unplug(lab, "pop2")
        second = time.monotonic()
        for pop in ("pop1", "pop2"):
            with lab.state.lock():
                lifecycle.kill(lab.state, lab.state.topology(), pop)
        for number, talk in enumerate(idle):
            assert talk.get(f"/say?id={number}") == said("pop3", number)
        for reader in readers:
            reader.check()
        for talk in talks:
            assert talk.get("/say?id=on") == said("pop3", "on")
            talk.nothing_more()
    no_resets(capture)
    half = healed(lab, since, talks)
    by_third = [one for one in half if one["pop"] == "pop3"]
    assert len(by_third) == len(talks), by(half, "pop")
    print(f"\nclaimant dies after {nudges_seen} nudges, {(second - first) * 1000:.0f} ms after the owner: it had healed "
          f"{len(half) - len(by_third)} of {len(talks)}, the third all; longest stall {max(one.stall for one in readers) * 1000:.0f} ms")


def vip_packets_of(capture, ports):
    """[(time, description)] of each packet from the VIP to these ports; not of probes, which anybody may send."""
    found = []
    for when, source, _, tcp, size in demo_capture._packets(capture.path):
        port = int.from_bytes(tcp[2:4], "big")
        payload = bytes(tcp[(tcp[12] >> 4) * 4:])
        if source in VIPS and port in ports and payload != b"\0":
            found.append((when, f"to {port}: flags {tcp[13]:#x}, {size} bytes {payload[:8]!r}"))
    return found


def test_a_killed_process_is_silent_its_sessions_go_on_and_it_takes_nothing_back(lab):
    size = 1_000_000
    readers = [download(Talk(lab, "client1", family), size) for family in FAMILIES]
    idle = two_of_each(lab, count=5)
    talks = [reader.talk for reader in readers] + idle
    known_everywhere(lab, talks)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture, lab.capture("pop1", "tcp") as at_pop1:
        os.kill(procs.pid_of(lab.state, "pop1", "suture"), signal.SIGKILL)
        killed = time.time()
        stories = wait_healed(lab, since, talks)
        for number, talk in enumerate(idle):
            assert talk.get(f"/say?id={number}") == said("pop2", number)
        started = time.time()
        lab.ok("start", "pop1")
        wait_until(lambda: lab.routed_to("client1") == "pop1", PATIENCE, what="client1 at pop1 again")
        for reader in readers:
            reader.check()
        for number, talk in enumerate(talks):
            assert talk.get(f"/say?id={number}") == said("pop2", number), "the restarted process took something back"
            assert owner_of(lab, "pop1", talk) == 2
            talk.nothing_more()
    no_resets(capture)
    assert demo_capture.unexpected_fins(capture.flows(), time.time()) == 0
    late = [f"{when - killed:.3f} s (start at {started - killed:.3f} s) {what}"
            for when, what in vip_packets_of(at_pop1, {talk.port for talk in talks}) if when > killed + HEARTBEAT_LIMIT + 0.02]
    assert not late, f"pop1 sent {len(late)} packets of the sessions after the SIGKILL:\n" + "\n".join(late[:10])
    print(f"\nSIGKILL, kernel lives: by rung {by(stories, 'rung')}, stall {max(reader.stall for reader in readers) * 1000:.0f} ms")


def test_a_frozen_owner_thaws_and_releases_silently(lab):
    """Stopped for longer than anybody waits; what it still holds of the sessions is another's when it wakes."""
    size, before = 1_500_000, lab.stats("pop1")["active_sessions"]
    readers = [download(Talk(lab, "client1", family), size) for family in FAMILIES]
    idle = two_of_each(lab, count=5)
    talks = [reader.talk for reader in readers] + idle
    known_everywhere(lab, talks)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        lab.ok("freeze", "pop1")
        stories = wait_healed(lab, since, talks)
        heir = stories[0]["pop"]
        assert {one["pop"] for one in stories} <= {"pop2", "pop3"}
        for number, talk in enumerate(idle):
            status, pop, _ = talk.get(f"/say?id={number}")
            assert (status, pop) in ((200, "pop2"), (200, "pop3"))
        lab.ok("thaw", "pop1")
        wait_until(lambda: lab.stats("pop1")["active_sessions"] <= before, PATIENCE, what="pop1 has released every session")
        for reader in readers:
            reader.check()
        for number, talk in enumerate(talks):
            status, pop, _ = talk.get(f"/say?id={number}")
            assert (status, pop) in ((200, "pop2"), (200, "pop3"))
            talk.nothing_more()
    no_resets(capture)
    assert demo_capture.unexpected_fins(capture.flows(), time.time()) == 0
    print(f"\nfreeze and thaw: {by(stories, 'rung')} at {heir}, stall {max(reader.stall for reader in readers) * 1000:.0f} ms, "
          f"released {lab.metric('pop1', 'suture_sessions_released_total'):.0f}")


def test_a_connection_of_which_only_the_dead_knew_is_reset_and_not_left_silent(lab):
    """Made while its owner was cut off from every peer (or in the last millisecond of its life): there is no record of it."""
    known = two_of_each(lab)
    known_everywhere(lab, known)
    isolate(lab, "pop1", ("pop2", "pop3"))
    unrecorded = two_of_each(lab)
    before = lab.metric("pop2", "suture_strays_total", verdict="reset_unrecorded")
    cut_power(lab, "pop1")
    for talk in unrecorded:
        with pytest.raises(Ended, match="reset"):
            talk.get("/say?id=nobody")
    for number, talk in enumerate(known):
        assert talk.get(f"/say?id={number}") == said("pop2", number)
        talk.close()
    assert lab.metric("pop2", "suture_strays_total", verdict="reset_unrecorded") >= before + len(unrecorded)
    for other in ("pop2", "pop3"):
        lab.ok("mend", "pop1", other)
