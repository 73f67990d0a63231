"""Clients that only wait are asked by somebody, whoever of the PoPs has begun or has seen what."""
import socket
import types

import pytest
from kit_ea import echo_apps
from kit_eb import PATIENCE
from kit_heal import (FAMILIES, Talk, apps_of, by, cut_power, directory, download, healed, known_everywhere, marks, names, no_resets,
                      two_of_each)
from lab import wait_until


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)


def test_clients_that_wait_hear_of_the_death_although_the_owner_is_back_at_once(lab):
    """A third of them is the restarted process's to ask first, which has never seen its former life."""
    echo_apps(lab)
    waiting = [lab.connect("client1", family, 9100, PATIENCE) for family in FAMILIES for _ in range(15)]
    for one in waiting:
        one.sendall(b"x")
        assert one.recv(1) == b"x"
    known_everywhere(lab, [types.SimpleNamespace(family=4 if one.family == socket.AF_INET else 6, port=one.getsockname()[1]) for one in waiting])
    since = marks(lab)
    lab.ok("crash", "pop1")
    lab.ok("start", "pop1")
    for one in waiting:
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    print(f"\nowner back at once: {by(healed(lab, since), 'pop')}, {by(healed(lab, since), 'reason')}")


def test_the_peer_whose_share_they_are_never_had_their_records(lab):
    lab.ok("cut", "pop1", "pop3")
    wait_until(lambda: lab.metric("pop3", "suture_peer_up", peer="1") == 0, PATIENCE, what="pop3 calls pop1 dead")
    readers = [download(Talk(lab, "client1", family), 400_000, 100_000) for family in FAMILIES for _ in range(10)]
    talks = [reader.talk for reader in readers]
    known_everywhere(lab, talks, pops=("pop1", "pop2"))
    assert not names(talks) & directory(lab, "pop3").keys(), "pop3 knows them: nothing is tested"
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        for reader in readers:
            reader.check()
    no_resets(capture)
    stories = healed(lab, since, talks)
    assert len(stories) == len(talks) and set(by(stories, "rung")) == {"range"}
    print(f"\na peer without the records: {by(stories, 'pop')}, longest stall {max(one.stall for one in readers) * 1000:.0f} ms")


def test_clients_that_are_gone_end_their_records(lab):
    """They left without a word; the RST that answers a probe is all that anybody ever hears of them."""
    talks = two_of_each(lab, count=5)
    known_everywhere(lab, talks)
    before = ended(lab)
    lab.ok("link", "client1", "--loss", "100")
    lab.end_connections("client1")
    for talk in talks:
        talk.socket.close()
    cut_power(lab, "pop1")
    wait_until(lambda: lab.metric("pop2", "suture_peer_up", peer="1") == 0, PATIENCE, what="pop2 calls pop1 dead")
    lab.ok("link", "client1")
    wait_until(lambda: not names(talks) & (directory(lab, "pop2").keys() | directory(lab, "pop3").keys()), PATIENCE,
               what="no PoP knows the sessions any more")
    assert ended(lab) >= before + len(talks)


def ended(lab):
    return sum(lab.metric(pop, "suture_records_ended_total") for pop in ("pop2", "pop3"))
