"""A crowd of heal_crowd.py, its owner's death, and what clients, application, capture and PoPs say of it, compared.

    crowd = Crowd(lab, "pop1", {"idle": 10, ...})    that many of each kind and family, under way, known to all peers
    crowd.cut()                                      the owner's power; the clients go on
    crowd.finish()                                   every session was healed, and ends well
    crowd.check("power cut", RULES, capture)         prints a table by kind, and asserts
"""
import collections
import json
import pathlib
import statistics
import subprocess
import time
import uuid
from dataclasses import dataclass, field

from kit_heal import _ledger, cut_power, directory, healed, marks, named, told, unplug
from lab import VIP, wait_until
from labkit import files

CROWD = pathlib.Path(__file__).resolve().parent / "heal_crowd.py"
PATIENCE = 30
LIVES = {"idle", "journal", "replay", "range", "refetch", "events", "reattach"}
METRICS = {"rung": "suture_heals_total", "reason": "suture_heal_failures_total"}


@dataclass
class Rule:
    """What docs/healing.md says of a kind: whether it lives, and the reasons for which it may not."""
    lives: bool
    reasons: set = field(default_factory=set)
    share: float = 1.0  # at least so many of them; below 1: what moves may be ahead of its record


class Crowd:
    def __init__(self, lab, owner, kinds, families=(4, 6), client="client1"):
        self.lab, self.owner = lab, owner
        self.peers = [pop["name"] for pop in lab.status()["pops"] if pop["running"] and pop["name"] != owner]
        self.count = sum(kinds.values()) * len(families)
        words = ";".join(f"{name}={count}" for name, count in kinds.items())
        self._process = lab.popen(client, ["/usr/bin/python3", CROWD, VIP[4], VIP[6], owner, files.directory(lab.state) / "1m",
                                           uuid.uuid4().hex[:6], words, *(families if len(families) == 1 else [])],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self._process.stdout.readline().strip()
        assert said == "all are under way", said
        wait_until(lambda: lab.stats(owner)["active_sessions"] >= self.count, PATIENCE, 0.1, "all sessions at the owner")
        self._known_to_peers()
        self.since, self._before = marks(lab), {name: self._metric(metric) for name, metric in METRICS.items()}

    def _known_to_peers(self):
        """What the owner knows now, all peers know soon. Sessions that move may be ahead again by then."""
        owner = {name: one for name, one in directory(self.lab, self.owner).items() if one["own"]}
        assert len(owner) >= self.count, f"only {len(owner)} of {self.count}: the others have been taken over already"
        self._names = set(owner)

        def late(peer):
            there = directory(self.lab, peer)
            return {name: (one, there.get(name)) for name, one in owner.items()
                    if any(there.get(name, {}).get(key, 0) < one.get(key, 0) for key in ("in_known", "out_sent", "exchanges"))}
        for peer in self.peers:
            deadline = time.monotonic() + PATIENCE
            while behind := late(peer):
                assert time.monotonic() < deadline, f"{peer} does not know {len(behind)} sessions as their owner does:\n" + "\n".join(
                    f"{name}: {one}, there {there}" for name, (one, there) in list(behind.items())[:5])
                time.sleep(1)  # building the page takes a PoP a while, in which it does nothing else

    def _metric(self, name):
        found = collections.Counter()
        for pop in self.peers:
            for (one, labels), value in self.lab.metrics(pop).items():
                if one == name:
                    found[next(iter(labels))[1]] += int(value)
        return found

    def _say(self, word):
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def cut(self):
        unplug(self.lab, self.owner)
        self._say("cut")  # what they say now meets a dead link
        cut_power(self.lab, self.owner)

    def finish(self):
        deadline = time.monotonic() + PATIENCE
        while missing := self._names - self.by_flow().keys():
            assert time.monotonic() < deadline, f"{len(missing)} sessions were not healed:\n" + "\n".join(map(self._told_of, list(missing)[:5]))
            time.sleep(0.5)
        self.finished = time.time()
        self._say("finish")
        said, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, said
        self.clients = json.loads(said)
        assert len(self.clients) == self.count

    def _told_of(self, name):
        known = {peer: directory(self.lab, peer).get(name) for peer in self.peers}
        claims = [one for one in told(self.lab, "claim_ended", self.since) if named(one["flow"].partition(">")[0]) == name]
        return f"{name}: {known}, claims {claims[-4:]}"

    def by_flow(self):
        """{(family, port): its heals, one after the other}. A busy heir may be taken for dead, too."""
        found = {}
        for one in sorted(healed(self.lab, self.since), key=lambda story: story["time"]):
            found.setdefault(named(one["flow"].partition(">")[0]), []).append(one)
        return found

    # ---- what must agree

    def check(self, title, rules, capture, resets_lost=0):
        """`resets_lost`: so many RSTs may be lost on a lossy way. Nobody sends one again, so their clients hear nothing."""
        stories = self.by_flow()
        refused = {named(one["flow"].partition(">")[0]) for one in told(self.lab, "s_rule_refusal", self.since)}
        for one in self.clients:
            heals = stories[one["family"], one["port"]]
            # The one that ended it. "stopped": released to a later claimant, without a segment.
            story = next((heal for heal in heals if heal["rung"] not in LIVES and heal["reason"] != "stopped"), heals[-1])
            one["rung"], one["reason"] = story["rung"], story["reason"]
        print("\n" + self.table(title))
        lost = [one for one in self.clients if (one["how"], one["note"], one["rung"]) == ("wrong", "silent", "reset")]
        for one in lost[:resets_lost]:
            one["how"] = "lost"
        if lost:
            print(f"{title}: {len(lost)} RSTs did not arrive")
        wrong = []
        for one in self.clients:
            if problem := self._problem(one, rules[one["kind"]], (one["family"], one["port"]) in refused):
                wrong.append(f"{problem}: {one}")
        assert not wrong, f"{len(wrong)} of {self.count}:\n" + "\n".join(wrong[:12])
        self._check_kinds(rules)
        self._check_executions()
        self._check_capture(capture)
        # The survivors count what their logs say, and that is what the clients saw.
        for key, before in self._before.items():
            counted = self._metric(METRICS[key]) - before
            logged = collections.Counter(one[key] for heals in stories.values() for one in heals if one[key])
            assert counted == logged, (counted, logged)

    def _problem(self, one, rule, refused):
        if one["how"] == "wrong":
            return "wrong"
        if one["how"] == "continued":
            return None if one["rung"] in LIVES and rule.lives else "goes on, against the rules"
        if one["how"] in ("reset", "lost"):
            agree = one["rung"] == "reset"
        elif one["note"] in ("503", "1012"):
            agree = one["rung"] == {"503": "refuse", "1012": "close"}[one["note"]] or (refused and one["note"] == "503")
        else:  # what follows its exchange was not known
            agree = one["rung"] in LIVES and rule.share < 1
        if not agree:
            return "the PoP's log says something else"
        return None if refused or not one["reason"] or one["reason"] in rule.reasons else "a reason that its kind must not have"

    def _check_kinds(self, rules):
        for kind, all_of_it in self.by_kind().items():
            lived = sum(one["how"] == "continued" for one in all_of_it)
            assert lived >= rules[kind].lives * rules[kind].share * len(all_of_it), f"{kind}: {lived} of {len(all_of_it)} lived"

    def _check_executions(self):
        """At the application: what must not run twice has not, and what a client was told of has run."""
        runs = collections.Counter()
        for line in _ledger(self.lab).read_text().splitlines():
            words = line.split()
            if words[2].startswith("/pay?id="):
                runs[words[1], words[2][8:].split("&")[0]] += 1
        posts = {id: count for (method, id), count in runs.items() if method == "POST"}
        twice = {id: count for id, count in posts.items() if count > 1}
        assert not twice, f"POSTs executed more than once: {twice}"
        for (method, id), count in runs.items():
            assert count <= 2, f"{method} {id}: {count} times"
        for one in self.clients:
            if one["kind"] in ("unanswered POST", "small POST answer", "large POST answer"):
                assert posts.get(one["id"]) == 1, one

    def _check_capture(self, capture):
        flows = {(family, port): flow for (family, port, _), flow in capture.flows().items()}
        ours = {(one["family"], one["port"]): one for one in self.clients}
        resets = {name for name, flow in flows.items() if flow.resets and name in ours}
        told = {name for name, one in ours.items() if one["how"] == "reset"}
        # A client that was still sending when it got its 503 may be reset behind that.
        late = {name for name in resets - told if ours[name]["how"] == "clean" and flows[name].vip_fin < min(flows[name].resets)}
        assert resets - late <= told, f"RSTs to {[ours[name] for name in resets - late - told][:5]}"
        assert capture.dropped or told <= resets, f"reset, and no RST on the wire: {[ours[name] for name in told - resets][:5]}"
        for name, flow in flows.items():
            if name in ours and 0 < flow.vip_fin < self.finished and not 0 < flow.client_fin < flow.vip_fin:
                assert ours[name]["how"] == "clean" or ours[name]["kind"] == "until close", f"a FIN to {ours[name]}"

    # ---- numbers

    def by_kind(self):
        found = {}
        for one in self.clients:
            found.setdefault(one["kind"], []).append(one)
        return dict(sorted(found.items()))

    def table(self, title):
        lines = [f"{title}: {'kind':20} sessions continued clean reset  median  longest stall  by rung, reasons"]
        for kind, all_of_it in [*self.by_kind().items(), ("all", self.clients)]:
            how = collections.Counter(one["how"] for one in all_of_it)
            stalls = [one["stall"] * 1000 for one in all_of_it]
            why = collections.Counter(one["rung"] + (f" {one['reason']}" if one["reason"] else "") for one in all_of_it)
            lines.append(f"{title}: {kind:20} {len(all_of_it):8} {how['continued']:9} {how['clean']:5} {how['reset']:5} "
                         f"{statistics.median(stalls):5.0f} ms {max(stalls):5.0f} ms       "
                         + ", ".join(f"{name} {count}" for name, count in why.most_common()))
        return "\n".join(lines)
