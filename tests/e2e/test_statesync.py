"""State sync between the PoPs: streams cut and resumed, peers that are absent, certificates and ids that are refused."""
import subprocess

import pytest
from kit_eb import PATIENCE, KeepAlive, knows, sessions, silent_flow, suture_pid, who
from lab import wait_until
from labkit import procs, suture
from test_startup import expired_copy

FAMILIES = [4, 6]


def settled(lab, *pops):
    """These PoPs hear each other, and their streams are in order."""
    ids = {pop: pop[3:] for pop in pops}
    return all(lab.metric(a, f"suture_peer_{what}", peer=ids[b]) == 1 for a in pops for b in pops if a != b for what in ("up", "synced"))


def differences(lab):
    """{connection: [who owns it, as pop1, pop2 and pop3 have it]} where they do not agree."""
    every = [sessions(lab, pop) for pop in ("pop1", "pop2", "pop3")]
    keys = set().union(*every)
    return {key: [one.get(key) for one in every] for key in keys if len({one.get(key) for one in every}) > 1}


def agree(lab):
    seen = []

    def equal():
        seen.append(differences(lab))
        return not seen[-1]
    try:
        wait_until(equal, PATIENCE, what="equal directories")
    except AssertionError:
        raise AssertionError(f"directories differ: {seen[-1]}") from None


def test_cut_and_mend_resumes_and_the_directories_are_equal_again(lab):
    wait_until(lambda: settled(lab, "pop1", "pop2", "pop3"), PATIENCE, what="all in sync")
    resumes = lab.metric("pop1", "suture_replication_resumes_total", peer="3")
    before = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in before.values()] == [(200, "pop1")] * 2
    wait_until(lambda: all(knows(lab, "pop3", one.port) for one in before.values()), PATIENCE, what="pop3 knows pop1's sessions")
    lab.ok("cut", "pop1", "pop3")
    for a, b in (("pop1", "3"), ("pop3", "1")):
        wait_until(lambda a=a, b=b: lab.metric(a, "suture_peer_up", peer=b) == 0, PATIENCE, what=f"{a} calls {b} dead")
    during = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in during.values()] == [(200, "pop1")] * 2
    wait_until(lambda: all(knows(lab, "pop2", one.port) for one in during.values()), PATIENCE, what="pop2 knows, it is not cut")
    assert not any(knows(lab, "pop3", one.port) for one in during.values()), "pop3 is cut off and knows of sessions nevertheless"
    lab.ok("mend", "pop1", "pop3")
    wait_until(lambda: all(knows(lab, "pop3", one.port) for one in during.values()), PATIENCE, what="pop3 learns what it missed")
    wait_until(lambda: settled(lab, "pop1", "pop2", "pop3"), PATIENCE, what="all in sync again")
    agree(lab)
    lab.ok("switch", "client1", "pop3")
    assert [one.ask()[:2] for one in [*before.values(), *during.values()]] == [(200, "pop1")] * 4
    resumed = lab.metric("pop1", "suture_replication_resumes_total", peer="3") - resumes
    print(f"\ncut and mended: {resumed:.0f} streams resumed without a snapshot (0: the TCP connection itself outlived the cut)")


def test_moved_to_a_pop_that_is_cut_off_from_the_owner_the_session_goes_on_there(lab):
    """pop3 takes pop1 for dead, and the client comes to pop3: it proves to the client who serves from now on; pop1 gives way."""
    kept = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
    wait_until(lambda: all(knows(lab, "pop3", one.port) for one in kept.values()), PATIENCE, what="pop3 knows the sessions")
    with lab.capture("client1", "tcp") as capture:
        lab.ok("cut", "pop1", "pop3")
        wait_until(lambda: lab.metric("pop3", "suture_peer_up", peer="1") == 0, PATIENCE, what="pop3 calls pop1 dead")
        lab.ok("switch", "client1", "pop3")
        assert [one.ask()[:2] for one in kept.values()] == [(200, "pop3")] * 2
        lab.ok("mend", "pop1", "pop3")
        wait_until(lambda: settled(lab, "pop1", "pop2", "pop3"), PATIENCE, what="all in sync again")
        wait_until(lambda: lab.stats("pop1")["active_sessions"] == 0, PATIENCE, what="pop1 has let go")
        lab.ok("switch", "client1", "pop1")
        assert [one.ask()[:2] for one in kept.values()] == [(200, "pop3")] * 2, "two owners"
        agree(lab)
    for family, one in kept.items():
        silent_flow(capture, family, one.port)
    assert capture.resets() == 0


def test_a_peer_that_is_unreachable_from_the_start(lab):
    lab.ok("crash", "pop3")
    lab.ok("crash", "pop1")
    lab.ok("start", "pop1")
    assert lab.metric("pop1", "suture_peer_up", peer="3") == 0 and lab.metric("pop1", "suture_route_announced") == 1
    assert lab.metric("pop1", "suture_peer_synced", peer="2") == 1
    wait_until(lambda: lab.routed_to("client1") == "pop1", PATIENCE, what="client1 at pop1")
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    lab.ok("start", "pop3")
    wait_until(lambda: settled(lab, "pop1", "pop2", "pop3") and knows(lab, "pop3", kept.port), PATIENCE, what="pop3 has caught up")
    lab.ok("switch", "client1", "pop3")
    assert kept.ask()[:2] == (200, "pop1")


@pytest.fixture
def rogue(lab):
    """rogue(id, pki): in pop3's place a suture with another identity; pop3's own process is down meanwhile."""
    lab.ok("stop", "pop3", "--now")

    def start(number, pki, name):
        text = suture.config_path(lab.state, "pop3").read_text()
        own = str(lab.state.dir / "pki")
        text = text.replace("  id: 3\n", f"  id: {number}\n", 1)
        text = text.replace(f"{own}/pop3.", f"{pki}/{name}.").replace(f"{own}/ca.pem", f"{pki}/ca.pem")
        if number == 2:  # a node does not list itself
            lines = text.splitlines()
            at = lines.index("  - id: 2")
            text = "\n".join(lines[:at] + lines[at + 4:]) + "\n"
        directory = lab.state.host_dir("captures")
        config, log = directory / "rogue.yaml", directory / "rogue.log"
        config.write_text(text)
        with open(log, "w") as out:
            process = lab.popen("pop3", [lab.state.load()["suture"], "run", "-c", config], stdout=out, stderr=out)
        return process, log
    yield start
    lab.end_processes()


def refused(lab, pop, *reasons):
    return sum(lab.metric(pop, "suture_statesync_refused_total", reason=reason) for reason in reasons)


def unharmed(lab, kept):
    assert kept.ask()[:2] == (200, "pop1")
    assert settled(lab, "pop1", "pop2")
    assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop1"


def test_certificate_of_another_ca_is_refused(lab, rogue, tmp_path):
    program = lab.state.load()["suture"]
    for words in (["init", tmp_path], ["node", tmp_path, "pop3", 3]):
        subprocess.run([program, "pki", *map(str, words)], check=True, capture_output=True)
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    before = {pop: refused(lab, pop, "wrong_ca") for pop in ("pop1", "pop2")}
    process, log = rogue(3, tmp_path, "pop3")
    for pop in before:
        wait_until(lambda p=pop: refused(lab, p, "wrong_ca") > before[p], PATIENCE, what=f"{pop} counts wrong_ca")
        assert "reason=wrong_ca" in lab.log(pop)
        assert lab.metric(pop, "suture_peer_up", peer="3") == 0
    unharmed(lab, kept)
    assert process.poll() is None, log.read_text()


def test_certificate_of_another_node_is_refused(lab, rogue):
    """A right certificate, but of a node that nobody has as a peer; it answers where node 3 is expected."""
    program = lab.state.load()["suture"]
    pki = lab.state.dir / "pki"
    subprocess.run([program, "pki", "node", str(pki), "pop9", "9"], check=True, capture_output=True)
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    reasons = ("unknown_node", "identity_mismatch", "wrong_certificate")
    before = refused(lab, "pop1", *reasons)
    rogue(9, pki, "pop9")
    wait_until(lambda: refused(lab, "pop1", *reasons) > before, PATIENCE, what="pop1 refuses node 9")
    assert any(f"reason={reason}" in lab.log("pop1") for reason in reasons)
    assert lab.metric("pop1", "suture_peer_up", peer="3") == 0
    unharmed(lab, kept)


def test_a_certificate_that_expires_is_refused_at_the_next_connection(lab, rogue, tmp_path):
    import datetime
    end = datetime.datetime.utcnow() + datetime.timedelta(seconds=8)
    pki = expired_copy(lab.state.dir / "pki", tmp_path / "short", name="pop3", number=3, end=end.strftime("%Y%m%d%H%M%SZ"))
    process, log = rogue(3, pki, "pop3")
    wait_until(lambda: lab.metric("pop1", "suture_peer_up", peer="3") == 1, PATIENCE, what="pop3 is up while its certificate is valid")
    wait_until(lambda: datetime.datetime.utcnow() > end, 20, what="the certificate's end")
    before = refused(lab, "pop2", "expired")
    # A stream lives as long as it lives; each new one is judged anew.
    lab.ok("cut", "pop2", "pop3")
    wait_until(lambda: lab.metric("pop2", "suture_peer_synced", peer="3") == 0 and "statesync_disconnected" in lab.log("pop2"), 60,
               what="the stream ends")
    lab.ok("crash", "pop2")
    lab.ok("mend", "pop2", "pop3")
    lab.ok("start", "pop2")
    wait_until(lambda: refused(lab, "pop2", "expired") > 0, PATIENCE, what=f"pop2 counts expired (before: {before})")
    assert process.poll() is None, log.read_text()
    assert "reason=expired" in lab.log("pop2")
    assert who(lab, "client1", 4) == "pop1"


def test_two_nodes_with_one_id_the_second_is_refused(lab, rogue):
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    first = suture_pid(lab, "pop2")
    before = refused(lab, "pop1", "duplicate_id")
    process, log = rogue(2, lab.state.dir / "pki", "pop2")
    wait_until(lambda: process.poll() is not None, PATIENCE, what="the second node 2 ends")
    assert process.returncode == 78
    said = log.read_text()
    assert "id_refused" in said and "incarnation" in said, said
    assert refused(lab, "pop1", "duplicate_id") > before and "reason=duplicate_id" in lab.log("pop1")
    assert procs.pid_of(lab.state, "pop2", "suture") == first and lab.metric("pop1", "suture_peer_up", peer="2") == 1
    unharmed(lab, kept)
