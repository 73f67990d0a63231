"""What fails at a PoP: suture killed, frozen, its application stopped. The client sees no FIN and no RST that nobody meant."""
import os
import resource
import signal
import time

import pytest
from kit_eb import PATIENCE, Download, KeepAlive, RouteMonitor, knows, rung, silent_flow, suture_pid, wait_who, who
from lab import wait_until
from labkit import procs, suture

FAMILIES = [4, 6]


def test_sigkill_is_silent_the_route_is_gone_sessions_go_on_and_the_next_start_serves(lab):
    idle = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in idle.values()] == [(200, "pop1")] * 2
    # Without a validator: all of it is fetched again, and compared with what the client has.
    unvalidated = [Download(lab, "client1", family, seconds=3).wait_under_way() for family in FAMILIES]
    others = [Download(lab, "client2", family).wait_under_way() for family in FAMILIES]
    wait_until(lambda: all(knows(lab, "pop2", one.port) for one in idle.values()), PATIENCE, what="pop2 knows the sessions")
    refetched = lab.metric("pop2", "suture_heals_total", rung="refetch")
    uncovered = lab.metric("pop2", "suture_heal_failures_total", reason="no_checkpoint")
    monitor = RouteMonitor(lab, "core1")
    with lab.capture("client1", "tcp") as capture:
        pid = suture_pid(lab, "pop1")
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        gone = {family: wait_until(lambda f=family: monitor.left(f, "pop1"), PATIENCE, what="the route's withdrawal")
                for family in FAMILIES}
        assert procs.gone(pid)
        for family, one in idle.items():
            assert one.ask()[:2] == (200, "pop2")
            wait_who(lab, "client1", family, "pop2")
        # What left in the last moments before the kill may be ahead of its record: then nobody can say what the client has.
        whole = sum(one.check(may_be_reset=True) for one in unvalidated)
        assert lab.metric("pop2", "suture_heals_total", rung="refetch") == refetched + whole
        assert lab.metric("pop2", "suture_heal_failures_total", reason="no_checkpoint") == uncovered + 2 - whole
    flows = capture.flows()
    for family, one in idle.items():
        silent_flow(capture, family, one.port)
    # The connections that asked who serves end by their own FIN; nothing else may be closed from the VIP.
    assert sum(1 for flow in flows.values() if flow.resets) == 2 - whole
    assert not any(flow.vip_fin and not 0 < flow.client_fin < flow.vip_fin for flow in flows.values())
    lab.ok("start", "pop1")
    assert "tunnel_adopted" in lab.log("pop1")
    for family in FAMILIES:
        wait_who(lab, "client1", family, "pop1")
    assert [one.ask()[:2] for one in idle.values()] == [(200, "pop2")] * 2, "the restarted process took a session back"
    for one in others:
        one.check()
    print("\nSIGKILL to withdrawal at core1: " + ", ".join(f"IPv{f} {(gone[f] - killed) * 1000:.1f} ms" for f in FAMILIES))


def test_a_start_right_after_a_kill_destroys_what_was_left(lab):
    """The dead process's sockets try to send their FIN 8 times, every half second (net/ipv4/tcp_timer.c, tcp_probe_timer), then they are gone."""
    idle = [KeepAlive(lab, "client1", family) for family in FAMILIES]
    assert [one.ask()[:2] for one in idle] == [(200, "pop1")] * 2
    lab.ok("crash", "pop1")
    lab.ok("start", "pop1")
    assert "former_sockets_destroyed" in lab.log("pop1")


def test_a_frozen_suture_says_nothing_its_heir_goes_on_and_thawing_gives_way(lab):
    idle = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
    assert [one.ask()[:2] for one in idle.values()] == [(200, "pop1")] * 2
    wait_until(lambda: all(knows(lab, "pop2", one.port) for one in idle.values()), PATIENCE, what="pop2 knows the sessions")
    with lab.capture("client1", "tcp") as capture:
        lab.ok("freeze", "pop1")
        # The frozen process still holds the route; its kernel hands new connections, and the old ones, to the heir.
        for family in FAMILIES:
            wait_who(lab, "client1", family, "pop2")
            assert lab.routed_to("client1", family) == "pop1"
        assert [one.ask()[:2] for one in idle.values()] == [(200, "pop2")] * 2
        adopted = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
        assert [one.ask()[:2] for one in adopted.values()] == [(200, "pop2")] * 2
        lab.ok("thaw", "pop1")
        wait_until(lambda: lab.metric("pop1", "suture_peer_up") == 2, PATIENCE, what="pop1 hears its peers again")
        wait_until(lambda: who(lab, "client1", 4) == "pop1", PATIENCE, what="pop1 serves again")
        wait_until(lambda: lab.stats("pop1")["active_sessions"] == 0, PATIENCE, what="pop1 has let go of what the heir serves")
        for one in [*idle.values(), *adopted.values()]:
            assert one.ask()[:2] == (200, "pop2"), "sessions of the heir stay with it"
    for family in FAMILIES:
        silent_flow(capture, family, idle[family].port)
        silent_flow(capture, family, adopted[family].port)
    assert rung(lab, "pop1", "orphan_to_heir") > 0


def test_application_stopped_502_withdrawn_restored(lab):
    # A 502 closes its connection, and says so: each question below has a connection of its own, made in good times.
    at_once, withdrawn, restored = ({family: KeepAlive(lab, "client1", family) for family in FAMILIES} for _ in range(3))
    for one in [*at_once.values(), *withdrawn.values(), *restored.values()]:
        assert one.ask()[:2] == (200, "pop1")
    with lab.capture("client1", "tcp") as capture:
        procs.end(lab.state, "pop1", "nginx")
        for one in at_once.values():
            assert one.ask()[:2] == (502, None) and one.closes
        for family in FAMILIES:
            wait_until(lambda f=family: lab.routed_to("client1", f) == "pop2", PATIENCE, what="withdrawn by the health check")
        assert lab.metric("pop1", "suture_health_up") == 0 and lab.metric("pop1", "suture_route_announced") == 0
        for one in withdrawn.values():  # forwarded to the owner, whose application is down
            assert one.ask()[:2] == (502, None) and one.closes
        assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop2"
        lab.ok("start", "pop1")
        for family in FAMILIES:
            wait_until(lambda f=family: lab.routed_to("client1", f) == "pop1", PATIENCE, what="restored")
        assert [one.ask()[:2] for one in restored.values()] == [(200, "pop1")] * 2
    for family, one in restored.items():
        silent_flow(capture, family, one.port)
    assert capture.resets() == 0
    assert lab.metric("pop1", "suture_route_changes_total", reason="unhealthy") >= 1


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptor_limit_stops_accepting_does_not_spin_and_goes_on(lab):
    pid = suture_pid(lab, "pop1")
    kept = KeepAlive(lab, "client1", 4)
    assert kept.ask()[:2] == (200, "pop1")
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    room = 8
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + room, limits[1]))
    crowd = []
    try:
        crowd = [lab.connect("client1", 4, 22, PATIENCE) for _ in range(room + 12)]
        wait_until(lambda: "reason=descriptors" in lab.log("pop1"), PATIENCE, what="accept_paused in the log")
        assert suture_pid(lab, "pop1") == pid, f"suture died at the descriptor limit:\n{lab.log('pop1')[-4000:]}"
        begin, cpu = time.monotonic(), cpu_seconds(pid)
        # Not a condition that is waited for: the span over which the processor time is taken.
        time.sleep(1.5)
        assert suture_pid(lab, "pop1") == pid, f"suture died at the descriptor limit:\n{lab.log('pop1')[-4000:]}"
        share = (cpu_seconds(pid) - cpu) / (time.monotonic() - begin)
        assert share < 0.6, f"spins at the descriptor limit: {share:.2f} of a core"
    finally:
        if suture_pid(lab, "pop1") == pid:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        for one in crowd:
            one.close()
    assert lab.metric("pop1", "suture_accept_errors_total", reason="descriptors") > 0
    assert kept.ask()[:2] == (200, "pop1")
    for family in FAMILIES:
        wait_who(lab, "client1", family, "pop1")
    print(f"\nat the descriptor limit: {share:.3f} of a core")


@pytest.fixture
def clocks_lab(new_lab, tmp_path, monkeypatch):
    """Two PoPs; pop2's suture lives in a time namespace whose monotonic clock is an hour ahead."""
    program = suture.binary()
    wrapper = tmp_path / "suture"
    wrapper.write_text(f"""#!/usr/bin/python3
import ctypes, os, sys
words = " ".join(sys.argv)
if "/pop2/suture.yaml" in words and "--check-config" not in words:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x80) == 0, "unshare: no time namespaces"
    open("/proc/self/timens_offsets", "w").write("monotonic 3600 0\\nboottime 3600 0\\n")
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
    assert libc.setns(fd, 0x80) == 0, "setns"
    os.close(fd)
os.execv("{program}", ["{program}"] + sys.argv[1:])
""")
    wrapper.chmod(0o755)
    monkeypatch.setenv("SUTURE_BIN", str(wrapper))
    return new_lab("--pops", "2")


def test_two_pops_with_clocks_an_hour_apart(clocks_lab):
    lab = clocks_lab
    spaces = {os.readlink(f"/proc/{suture_pid(lab, pop)}/ns/time") for pop in ("pop1", "pop2")}
    assert len(spaces) == 2, "pop2 was to live in a time namespace of its own"
    assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop1"
    with lab.capture("client1", "tcp") as capture:
        kept = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
        assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
        downloads = [Download(lab, "client1", family).wait_under_way() for family in FAMILIES]
        for target in ("pop2", "pop1", "pop2"):
            lab.ok("switch", "client1", target)
            for one in downloads:
                one.wait_under_way()
            assert [one.ask()[:2] for one in kept.values()] == [(200, "pop1")] * 2
            assert who(lab, "client1", 4) == target
        back = {family: KeepAlive(lab, "client1", family) for family in FAMILIES}
        assert [one.ask()[:2] for one in back.values()] == [(200, "pop2")] * 2
        lab.ok("switch", "client1", "pop1")
        assert [one.ask()[:2] for one in back.values()] == [(200, "pop2")] * 2
        for one in downloads:
            one.check()
    for family in FAMILIES:
        silent_flow(capture, family, kept[family].port)
        silent_flow(capture, family, back[family].port)
    assert capture.resets() == 0
    assert rung(lab, "pop2", "forward_hint") + rung(lab, "pop2", "forward_map") > 0
    print(f"\nclocks an hour apart: longest stall {max(one.stall for one in downloads) * 1000:.0f} ms, "
          f"by hint {rung(lab, 'pop2', 'forward_hint'):.0f}, by map {rung(lab, 'pop2', 'forward_map'):.0f}")
