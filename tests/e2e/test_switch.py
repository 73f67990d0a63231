"""Every kind of session at once, IPv4 and IPv6, while the client's route moves and its owner drains."""
import os
import signal
import subprocess
import time

import pytest
from kit_ea import OwnSuture, echo_apps, forwarded, sessions
from lab import LAB, wait_until
from labkit import procs


@pytest.fixture(autouse=True)
def applications(lab):
    echo_apps(lab)


def test_switch_and_back(lab):
    before = forwarded(lab, "pop2")
    with sessions(lab) as going:
        lab.ok("switch", "client1", "pop2")
        going.heard_again()
        lab.ok("switch", "client1", "pop1")
        going.heard_again()
    going.check("switch and back")
    assert {one.pop for one in going.sessions if one.pop} == {"pop1"}
    assert forwarded(lab, "pop2") > before


def test_sessions_end_at_a_pop_that_is_not_their_owner(lab):
    before = forwarded(lab, "pop2")
    with sessions(lab) as going:
        lab.ok("switch", "client1", "pop2")
        going.heard_again()
    going.check("switch, end there")
    assert forwarded(lab, "pop2") > before


def test_third_pop(lab):
    """The second switch leads to a PoP that never saw these flows, and that neither owns nor forwarded them."""
    before = forwarded(lab, "pop3")
    with sessions(lab) as going:
        lab.ok("switch", "client1", "pop2")
        going.heard_again()
        lab.ok("switch", "client1", "pop3")
        going.heard_again()
    going.check("third PoP")
    assert forwarded(lab, "pop3") > before


def test_flap_every_second(lab):
    with sessions(lab, seconds=9) as going:
        flap = subprocess.Popen([str(LAB), "flap", "client1", "1"], env=lab.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, text=True)
        moves = []
        try:
            while len(moves) < 6:
                line = flap.stdout.readline()
                assert line, "lab flap ended"
                moves.append(line.split()[-1])
        finally:
            flap.send_signal(signal.SIGINT)
            flap.communicate(timeout=30)
        going.heard_again()
    assert set(moves) == {"pop1", "pop2", "pop3"}
    going.check("flap every second")


def test_owner_that_only_seemed_dead(lab):
    """Its machine stands still until the client's PoP takes it for dead: what can be healed is, what only the owner can go on
    with waits for it."""
    def put_off():
        return lab.metric("pop2", "suture_heal_ends_put_off_total")
    before, told = put_off(), len(lab.log("pop2"))
    with sessions(lab) as going:
        lab.ok("switch", "client1", "pop2")
        going.heard_again()
        owner = procs.pid_of(lab.state, "pop1", "suture")
        os.kill(owner, signal.SIGSTOP)
        try:
            wait_until(lambda: put_off() > before, 30, what="pop2 takes pop1 for dead")
        finally:
            os.kill(owner, signal.SIGCONT)
        going.heard_again()
    going.check("owner seemed dead")
    ended = [line for line in lab.log("pop2")[told:].splitlines() if "rung=reset" in line or "rung=refuse" in line]
    assert not ended, "\n".join(ended)


def test_owner_drains(lab):
    """SIGTERM: the route is withdrawn, the sessions go on through the others, new ones go elsewhere, and it ends with status 0."""
    owner = OwnSuture(lab, "pop1")
    wait_until(lambda: lab.routed_to("client1") == lab.routed_to("client1", 6) == "pop1", 30, what="client1 at pop1")
    with sessions(lab) as going:
        lab.ok("stop", "pop1")
        stopped = time.monotonic()
        assert lab.routed_to("client1") != "pop1"
        going.heard_again()
        assert owner.process.poll() is None, "it ended before its sessions had"
        head = lab.curl("client1", "-I", lab.url(4, "/1k"), "--local-port", "61000").stdout.lower()
        assert "x-app-pop: " in head and "pop1" not in head
    owner.exits_cleanly(60)
    print(f"\nthe owner ended {time.monotonic() - stopped:.1f} s after SIGTERM, when its sessions had")
    going.flows = {key: flow for key, flow in going.flows.items() if key[1] != 61000}
    going.check("owner drains")
    lab.ok("start", "pop1")
    wait_until(lambda: lab.routed_to("client1") == lab.routed_to("client1", 6) == "pop1", 30, what="client1 back at pop1")
    done = lab.curl("client1", "-o", "/dev/null", "-w", "%{http_code}", lab.url(6, "/1m"))
    assert done.stdout == "200"
