"""Fixtures of the end-to-end tests. They need root; SUTURE_BIN chooses the binary (tests/run gives the sanitizer build)."""
import ctypes
import os
import pathlib
import re
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import Lab, wait_until  # noqa: E402
from labkit import procs  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
EXIT_SECONDS = 60
LEFT_OVER_SECONDS = 20
PEER_GAUGES = ("suture_peer_up", "suture_peer_synced", "suture_peer_hint_ok", "suture_peer_caught_up")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=1)
    # What `docker/lab` starts and leaves becomes our child, so that its exit status can be had.
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def pytest_terminal_summary(terminalreporter):
    """What the scenarios measured (stalls, time to withdrawal, records per session): printed, never asserted."""
    said = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if said:  # once more and short, before the numbers: CI keeps a part of what is printed
        terminalreporter.section("what failed")
    for one in said:
        crash = getattr(one.longrepr, "reprcrash", None)
        terminalreporter.write_line(f"{one.nodeid} ({one.when}): {crash.message[:2000] if crash else str(one.longrepr)[-2000:]}")
    passed = [one for one in terminalreporter.stats.get("passed", []) if one.when == "call" and one.capstdout.strip()]
    if passed:
        terminalreporter.section("numbers")
    for one in passed:
        for line in one.capstdout.strip().splitlines():
            terminalreporter.write_line(f"{one.nodeid.rpartition('::')[2]}: {line.strip()}")


@pytest.fixture(scope="session")
def session_lab():
    """One lab of three PoPs for all tests that take `lab`."""
    lab = Lab(f"e2e{os.getpid()}")
    lab.ok("down")
    lab.ok("up", timeout=600)
    yield lab
    take_down(lab)


@pytest.fixture
def lab(session_lab):
    """The session's lab, in order before each test: everything up, links as new, nothing cut, clients where they prefer,
    no session of the test before."""
    settle(session_lab)
    for client in session_lab.state.topology().clients():
        session_lab.end_connections(client.name)
    nothing_left_over(session_lab)
    yield session_lab
    session_lab.end_processes()


def nothing_left_over(lab):
    """No PoP knows of any session; the message names them, as the PoPs do."""
    pops = [pop.name for pop in lab.state.topology().pops()]
    deadline = time.monotonic() + LEFT_OVER_SECONDS
    while any(lab.stats(pop)["directory_sessions"] for pop in pops):
        if time.monotonic() > deadline:
            left = "\n".join(f"{pop}: {lab.admin(pop, '/sessions?limit=10')[1]}" for pop in pops)
            for pop in pops:  # one error, not one for every test that follows
                lab.ok("crash", pop)
            for pop in pops:
                lab.ok("start", pop)
            raise AssertionError(f"sessions are left of the test before:\n{left}")
        time.sleep(0.05)


@pytest.fixture
def new_lab():
    """new_lab("up's", "options"): a further lab of the test's own, taken down after it."""
    made = []

    def make(*options, name=None, up=True):
        one = Lab(name or f"e2e{os.getpid()}x{len(made)}")
        made.append(one)
        if up:
            one.ok("up", *options, timeout=600)
        return one
    yield make
    for one in made:
        one.end_processes()
        take_down(one)


def take_down(lab):
    """`lab down`, and before it: every suture that still runs ends with status 0, and no sanitizer has said anything."""
    wrong = []
    try:
        if lab.state.exists():
            wrong = statuses(lab) + sanitizer_reports(lab)
    finally:
        lab.ok("down")
    assert not wrong, "\n".join(wrong)


def statuses(lab):
    """Stops all sutures in order; what is wrong with how they ended. A leak is reported then, and is a status other than 0."""
    pids = {pop.name: procs.pid_of(lab.state, pop.name, "suture") for pop in lab.state.topology().pops()}
    pids = {pop: pid for pop, pid in pids.items() if pid}
    wrong = []
    lab.end_processes()
    for pop in pids:
        procs.send(lab.state, pop, "suture", signal.SIGCONT)
        procs.send(lab.state, pop, "suture", signal.SIGTERM)
    for pop, pid in pids.items():
        wait_until(lambda p=pop: lab.admin(p, "/readyz")[0] != 200, EXIT_SECONDS, what=f"{pop} stopping")
        procs.send(lab.state, pop, "suture", signal.SIGTERM)  # the second: without waiting for sessions
    for pop, pid in pids.items():
        try:
            status = wait_until(lambda p=pid: (done := os.waitpid(p, os.WNOHANG))[0] and done, EXIT_SECONDS, what=f"{pop}'s end")[1]
        except ChildProcessError:  # somebody has waited for it already: nobody's child here
            continue
        if status != 0:
            wrong.append(f"{pop}: suture ended with {os.waitstatus_to_exitcode(status)}; the end of its log:\n{lab.log(pop)[-4000:]}")
    return wrong


def sanitizer_reports(lab):
    """What no log may contain; with the text around it."""
    found = []
    for path in sorted(lab.state.dir.glob("*/*.log")):
        text = path.read_text(errors="replace")
        at = re.search(r"Sanitizer|runtime error|terminate called", text)
        if at:
            found.append(f"{path.relative_to(lab.state.dir)}:\n{text[max(0, at.start() - 200):at.start() + 6000]}")
    return found


def settle(lab):
    status = lab.status()
    for a, b in status["cuts"]:
        lab.ok("mend", a, b)
    for link in status["links"]:
        if link["emulation"]:
            lab.ok("link", link["a"] if not link["a"].startswith("core") else link["b"])
    for pop in status["pops"]:
        if pop["ready"]:
            denied = lab.metric(pop["name"], "suture_directory_records_total", outcome="contradictory")
            assert denied == 0, f"{pop['name']}: in the test before, {denied:.0f} records contradicted earlier ones of their owner"
        if not (pop["running"] and pop["ready"] and pop["announcing"]):
            lab.run("thaw", pop["name"])
            lab.run("undrain", pop["name"])
            lab.ok("start", pop["name"])
    for client, pop in (("client1", "pop1"), ("client2", "pop3")):
        lab.ok("switch", client, pop)
    # A PoP that started before its peers has announced without them.
    for pop in status["pops"]:
        for peer in status["pops"]:
            if peer is not pop:
                wait_until(lambda at=pop["name"], of=peer["name"][3:]: met(lab, at, of), 30, what=f"{pop['name']} knows {peer['name']}")


def met(lab, pop, peer):
    return all(lab.metric(pop, name, peer=peer) == 1 for name in PEER_GAUGES)


LOG_LINES = 25


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows what each PoP logged since its test began: a lab on a CI machine is gone when one looks."""
    lab = item.funcargs.get("session_lab") if hasattr(item, "funcargs") else None
    report = (yield).get_result()
    if lab is None or not report.failed or not lab.state.exists():
        return
    for pop in lab.state.topology().pops():
        lines = lab.log(pop.name).splitlines()
        report.sections.append((f"{pop.name}: the last {LOG_LINES} lines of its log", "\n".join(lines[-LOG_LINES:])))
