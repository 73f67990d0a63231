"""Clients of other kinds: without timestamps, SACK or window scaling; and very many of them at once."""
import json
import pathlib
import subprocess
import time

import pytest
from kit_ea import echo_apps, forwarded, sessions
from lab import VIP
from labkit import demo_capture, files

CROWD = pathlib.Path(__file__).resolve().parent / "crowd.py"
CROWD_SESSIONS, CROWD_SWITCHES = 300, 20


@pytest.fixture(autouse=True)
def applications(lab):
    echo_apps(lab)


@pytest.mark.parametrize("without", [["timestamps"], ["sack"], ["window_scaling"], ["timestamps", "sack", "window_scaling"]], ids="+".join)
def test_clients_without(lab, without):
    off = {f"net_ipv4_tcp_{option}": 0 for option in without}
    lab.sysctl("client1", **off)
    before = {pop: forwarded(lab, pop) for pop in ("pop2", "pop3")}
    try:
        with sessions(lab, seconds=4) as going:
            for pop in ("pop2", "pop3"):
                lab.ok("switch", "client1", pop)
                going.heard_again()
        going.check(f"clients without {', '.join(without)}")
    finally:
        lab.sysctl("client1", **{key: 1 for key in off})
    for pop, count in before.items():
        assert forwarded(lab, pop) > count


def replicated(lab, pop):
    """What a PoP has sent to its peers so far (each record once per peer), and how many requests it has served."""
    return {"records": lab.metric(pop, "suture_replication_records_total"),
            "bytes": lab.metric(pop, "suture_replication_bytes_total"),
            "requests": lab.metric(pop, "suture_requests_total")}


def test_crowd(lab):
    """300 sessions of five kinds and both families, 20 switches in the middle of them."""
    owner = lab.routed_to("client1")
    sent = replicated(lab, owner)
    with lab.capture("client1", "tcp") as capture:
        crowd = lab.popen("client1", ["/usr/bin/python3", str(CROWD), VIP[4], VIP[6], CROWD_SESSIONS,
                                      files.directory(lab.state) / "1m"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
        assert crowd.stdout.readline().strip() == "all are under way"
        started = time.monotonic()
        for number in range(CROWD_SWITCHES):
            lab.ok("switch", "client1", ("pop2", "pop3", "pop1")[number % 3])
        took = time.monotonic() - started
        crowd.stdin.write("finish\n")
        crowd.stdin.flush()
        end_of_scenes = time.time()
        said, _ = crowd.communicate(timeout=120)
    assert crowd.returncode == 0, said
    result = json.loads(said)
    assert result["lost"] == [] and result["sessions"] == result["good"] == CROWD_SESSIONS
    flows = capture.flows()
    assert len(flows) == CROWD_SESSIONS
    assert {key: len(flow.resets) for key, flow in flows.items() if flow.resets} == {}
    assert demo_capture.unexpected_fins(flows, end_of_scenes) == 0
    stalls = ", ".join(f"{kind} {stall * 1000:.0f} ms" for kind, stall in result["stalls"].items())
    print(f"\ncrowd: {result['good']} of {CROWD_SESSIONS} lived through {CROWD_SWITCHES} switches in {took:.1f} s, "
          f"{result['bytes']:,} bytes checked; longest stalls: {stalls}")
    now = replicated(lab, owner)
    records, size, requests = (now[key] - sent[key] for key in ("records", "bytes", "requests"))
    print(f"state sync, to two peers: {records / CROWD_SESSIONS:.1f} records and {size / CROWD_SESSIONS:.0f} bytes a session, "
          f"{requests / CROWD_SESSIONS:.1f} requests a session")
