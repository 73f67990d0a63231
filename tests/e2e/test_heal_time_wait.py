"""A client that comes back to a PoP from a port whose earlier connection still waits there (TIME_WAIT) is healed like any other."""
import contextlib
import subprocess

import pytest
from kit_eb import PATIENCE
from kit_heal import FAMILIES, Ended, Talk, apps_of, by, cut_power, known_everywhere, ledger, marks, no_resets, said, wait_healed
from lab import VIP, wait_until
from labkit import netns
from test_heal_clients import sysctls

HEIR = "pop2"


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")


def waiting_at(lab, pop):
    """Ports of clients of which that PoP's kernel holds a TIME_WAIT."""
    done = subprocess.run(netns.enter(lab.state, pop) + ["ss", "-Htan", "state", "time-wait"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {int(words[-1].rpartition(":")[2]) for words in lines if words[-2].rpartition(":")[0].strip("[]") in VIP.values()}


def closed_by_the_proxy(lab, family):
    """The port of a connection whose server has closed first."""
    talk = Talk(lab, "client1", family)
    talk.socket.sendall(b"GET /say?id=first HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
    assert talk.response() == said(HEIR, "first")
    with pytest.raises(Ended, match="eof"):
        talk.more()
    talk.socket.close()
    return talk.port


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no-timestamps"])
def test_heir_that_still_waits_for_the_ports_last_connection(lab, timestamps):
    with contextlib.ExitStack() as until_the_end:
        if not timestamps:
            until_the_end.enter_context(sysctls(lab, net_ipv4_tcp_timestamps=0))
        lab.ok("switch", "client1", HEIR)
        ports = [closed_by_the_proxy(lab, family) for family in FAMILIES]
        wait_until(lambda: set(ports) <= waiting_at(lab, HEIR), PATIENCE, what="TIME_WAIT at the heir")
        lab.ok("switch", "client1", "pop1")
        talks = [Talk(lab, "client1", family, from_port=port) for family, port in zip(FAMILIES, ports)]
        for talk in talks:
            assert talk.get("/say?id=second") == said("pop1", "second")
        known_everywhere(lab, talks)
        assert set(ports) <= waiting_at(lab, HEIR), "nothing to be tested: the old connections are forgotten"
        since = marks(lab)
        with lab.capture("client1", "tcp") as capture:
            cut_power(lab, "pop1")
            for talk in talks:
                assert talk.get("/say?id=third") == said(HEIR, "third")
            stories = wait_healed(lab, since, talks)
        for talk in talks:
            talk.close()
        no_resets(capture)
        assert by(stories, "rung") == {"idle": 2}
