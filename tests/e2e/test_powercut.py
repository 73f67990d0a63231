"""A PoP loses power: its links go down and every process dies. Sessions that the rules allow go on at another PoP."""
import json
import pathlib
import subprocess
import time

from kit_eb import PATIENCE
from kit_heal import directory, everything_known
from lab import VIP, wait_until
from labkit import demo_capture, files

CROWD = pathlib.Path(__file__).resolve().parent / "crowd.py"


def heals(lab, pops=("pop2", "pop3")):
    """{rung: sessions} since these PoPs' suture began."""
    found = {}
    for pop in pops:
        for (name, labels), value in lab.metrics(pop).items():
            if name == "suture_heals_total" and value:
                rung = dict(labels)["rung"]
                found[rung] = found.get(rung, 0) + int(value)
    return found


def reasons(lab, pops=("pop2", "pop3")):
    found = {}
    for pop in pops:
        for (name, labels), value in lab.metrics(pop).items():
            if name in ("suture_heal_failures_total", "suture_claims_given_up_total") and value:
                found[dict(labels)["reason"]] = found.get(dict(labels)["reason"], 0) + int(value)
    return found


def since(before, now):
    return {key: value - before.get(key, 0) for key, value in now.items() if value != before.get(key, 0)}


def spread(values):
    return f"median {values[len(values) // 2] * 1000:.0f} ms, p99 {values[len(values) * 99 // 100] * 1000:.0f} ms, longest {values[-1] * 1000:.0f} ms"


class Crowd:
    """`count` clients at client1, half of them IPv6; all are under way once this is made."""

    def __init__(self, lab, count, kinds):
        self.lab, self.count = lab, count
        self._process = lab.popen("client1", ["/usr/bin/python3", str(CROWD), VIP[4], VIP[6], count,
                                              files.directory(lab.state) / "1m", kinds],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline().strip() == "all are under way"

    def finish(self):
        self._process.stdin.write("finish\n")
        self._process.stdin.flush()
        self.finished = time.time()
        said, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, said
        return json.loads(said)

    def check(self, result, capture):
        """Nobody lost, no wrong byte, no second connection, no RST and no FIN that nobody asked for."""
        assert result["lost"] == [] and result["sessions"] == result["good"] == self.count
        flows = capture.flows()
        assert {key: len(flow.resets) for key, flow in flows.items() if flow.resets} == {}
        assert demo_capture.unexpected_fins(flows, self.finished) == 0
        assert len(flows) == self.count, "a client opened a second connection"


def cut_power(lab, crowd, owner):
    """Returns how many sessions were healed by rung, once all of the crowd's are."""
    wait_until(lambda: lab.stats(owner)["active_sessions"] >= crowd.count, PATIENCE, what="all sessions at the owner")
    others = [pop["name"] for pop in lab.status()["pops"] if pop["name"] != owner and pop["running"]]
    everything_known(lab, {name: one for name, one in directory(lab, owner).items() if one["own"]}, others)
    before = heals(lab, others)
    lab.ok("kill", owner)
    wait_until(lambda: sum(since(before, heals(lab, others)).values()) >= crowd.count, PATIENCE,
               what="every session of the dead PoP healed")
    return since(before, heals(lab, others))


def test_power_cut_with_300_downloads_and_300_idle_connections(lab):
    """The owner of 600 sessions loses power in the middle of them; not one is lost, and the client sees no RST."""
    owner = lab.routed_to("client1")
    with lab.capture("client1", "tcp") as capture:
        crowd = Crowd(lab, 600, "idle,trickle")
        rungs = cut_power(lab, crowd, owner)
        result = crowd.finish()
    crowd.check(result, capture)
    assert rungs["idle"] >= 300 and rungs["range"] >= 100, f"the downloads were not under way: {rungs}"
    print(f"\npower cut: {crowd.count} of {crowd.count} sessions lived, {result['bytes']:,} bytes checked; by rung {rungs}")
    for kind, values in result["every"].items():
        print(f"power cut, stall of a {kind}: {spread(values)}")


def test_power_cut_of_two_pops_one_after_the_other(lab):
    """The heir of the sessions dies, too; the third PoP goes on."""
    with lab.capture("client1", "tcp") as capture:
        crowd = Crowd(lab, 60, "idle,trickle")
        rungs = [cut_power(lab, crowd, lab.routed_to("client1")) for _ in range(2)]
        result = crowd.finish()
    crowd.check(result, capture)
    print(f"\ntwo power cuts: {crowd.count} of {crowd.count} sessions lived both; by rung {rungs}")
