"""The owner dies with a request somewhere between the client and the application: what is answered, and how often it was executed."""
import os
import select
import signal

import pytest
from kit_ea import echo_apps
from kit_eb import PATIENCE
from kit_heal import (FAMILIES, Ended, Talk, apps_of, by, cut_power, directory, healed, known_everywhere, ledger, marks, no_resets, said,
                      stop_process, two_of_each, unplug, wait_healed)
from lab import wait_until
from labkit import procs, routes


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")  # fails on whatever is no request


def refused(talk):
    """503, said to be the last one, and the connection's clean end."""
    status, headers = talk.head()
    assert status == 503 and headers["connection"] == "close", (status, headers)
    talk.body(int(headers["content-length"]))
    assert talk.end() == "eof"


def unreported(lab):
    """From now on pop1 tells nobody what it does."""
    topo = lab.state.topology()
    with lab.state.lock():
        settings = lab.state.load()
        for peer in ("pop2", "pop3"):
            routes.cut(lab.state, topo, "pop1", peer)
        lab.state.save({**settings, "cuts": [["pop1", "pop2"], ["pop1", "pop3"]]})


def test_power_cut_in_the_moment_of_the_request(lab):
    """Some of the records have left, some are under way, some were never made: each client gets its answer or a clean end."""
    talks = two_of_each(lab, count=20)
    known_everywhere(lab, talks)
    since, pid = marks(lab), procs.pid_of(lab.state, "pop1", "suture")
    for number, talk in enumerate(sorted(talks, key=lambda one: one.port)):
        talk.number = number
        talk.send("GET", f"/say?id=race{number}")
    # A quarter is answered: the others are at every stage.
    wait_until(lambda: len(select.select([talk.socket for talk in talks], [], [], 0)[0]) >= 10, PATIENCE, 0, what="ten answers")
    os.kill(pid, signal.SIGKILL)
    cut_power(lab, "pop1")
    ends = {"pop1": 0, "pop2": 0, "503": 0, "reset": 0}
    for talk in talks:
        try:
            status, headers = talk.head()
            body = talk.body(int(headers["content-length"]))
            if status == 200:
                pop = headers["x-app-pop"]
                assert body == said(pop, f"race{talk.number}")[2]
                again = talk.get("/say?id=again")  # answered by the dead one: then it is this that tells of the heal
                assert again == said("pop2", "again"), again
                ends[pop] += 1
                talk.close()
            else:
                assert status == 503 and headers["connection"] == "close" and talk.end() == "eof", status
                ends["503"] += 1
        except Ended as ended:
            assert ended.how == "reset"
            ends["reset"] += 1
    stories = wait_healed(lab, since, talks)
    # A GET may be asked again: an end is right only where bytes or a response are in nobody's record.
    why = by([one for one in stories if one["rung"] in ("refuse", "reset")], "reason")
    assert set(why) <= {"lost_bytes", "partial_request", "response_unknown", "cursor_beyond", "partial_head"}, why
    assert sum(why.values()) == ends["503"] + ends["reset"]
    print(f"\nrequest and death at once: {ends}, by rung {by(stories, 'rung')}, ends by reason {why}")


def test_a_request_that_only_the_dead_kernel_had_is_refused_and_never_executed(lab):
    """Acknowledged to the client, read by nobody: no PoP holds its bytes."""
    talks = two_of_each(lab)
    known_everywhere(lab, talks)
    since = marks(lab)
    stop_process(lab, "pop1")
    for talk in talks:
        talk.send("GET", f"/say?id=swallowed{talk.family}")
    for talk in talks:
        wait_until(lambda t=talk: t.unacknowledged() == 0, 5, 0.001, what="the kernel's acknowledgement")
    cut_power(lab, "pop1")
    with lab.capture("client1", "tcp") as capture:
        for talk in talks:
            refused(talk)
    no_resets(capture)
    assert by(wait_healed(lab, since, talks), "reason") == {"lost_bytes": 2}
    assert not any(ledger(lab, f"swallowed{family}") for family in FAMILIES)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_request_with_a_body_passed_on_and_recorded(lab, method):
    """The application has it and has not answered. A POST is not executed again: 503. A PUT may be, with the same body."""
    talks = two_of_each(lab)
    since = marks(lab)
    for talk in talks:
        talk.send(method, f"/pay?id={method}{talk.family}&silent=pop1", b"ten bytes!")
    for talk in talks:
        wait_until(lambda t=talk: ledger(lab, f"{method}{t.family}"), PATIENCE, what="the request at the application")
        # The record leaves before the request does, and a flush interval later it is with every peer.
        wait_until(lambda t=talk: phase(lab, "pop2", t) in ("body", "waiting"), PATIENCE, what="the record at pop2")
    if method == "PUT":
        known_everywhere(lab, talks)
    cut_power(lab, "pop1")
    for talk in talks:
        if method == "PUT":
            assert talk.response() == said("pop2", f"{method}{talk.family}")
            assert ledger(lab, f"{method}{talk.family}") == [("pop1", method, 10), ("pop2", method, 10)]
        else:
            refused(talk)
            assert ledger(lab, f"{method}{talk.family}") == [("pop1", method, 10)]
    stories = wait_healed(lab, since, talks)
    assert by(stories, "rung") == {"replay" if method == "PUT" else "refuse": 2}
    assert set(by(stories, "reason")) <= ({""} if method == "PUT" else {"not_idempotent", "lost_bytes"}), by(stories, "reason")
    print(f"\na {method} passed on and recorded: {by(stories, 'rung')}, {by(stories, 'reason')}")


def phase(lab, pop, talk):
    phases = {0: "idle", 1: "head", 2: "body", 3: "waiting", 4: "response"}
    return phases.get(directory(lab, pop).get((talk.family, talk.port), {}).get("phase"))


def test_a_post_passed_on_and_not_recorded_is_executed_once(lab):
    """The owner executes it, and dies before any peer hears of it. Answered or not: nobody executes it again."""
    silent, answered = two_of_each(lab), two_of_each(lab)
    known_everywhere(lab, silent + answered)
    since = marks(lab)
    unreported(lab)
    for talk in silent:
        talk.send("POST", f"/pay?id=silent{talk.family}&silent=pop1", b"ten bytes!")
    for talk in answered:
        talk.send("POST", f"/pay?id=answered{talk.family}", b"ten bytes!")
        assert talk.response() == said("pop1", f"answered{talk.family}")
    for talk in silent:
        wait_until(lambda t=talk: ledger(lab, f"silent{t.family}"), PATIENCE, what="the POST at the application")
        wait_until(lambda t=talk: t.unacknowledged() == 0, 5, 0.001, what="the POST acknowledged")
    cut_power(lab, "pop1")
    for talk in silent:
        refused(talk)
        assert ledger(lab, f"silent{talk.family}") == [("pop1", "POST", 10)]
    for talk in answered:  # its answer lies beyond what the record explains: nothing of our own may follow it
        assert talk.end() == "reset"
        assert ledger(lab, f"answered{talk.family}") == [("pop1", "POST", 10)]
    assert by(wait_healed(lab, since, silent), "reason") == {"lost_bytes": 2}
    assert by(wait_healed(lab, since, answered), "rung") == {"reset": 2}


def test_bytes_that_the_dead_owner_never_acknowledged(lab):
    """A GET sent into the dead link is answered by the heir, and so is one of which the record has the first half; a POST
    that nobody ran gets its 503."""
    gets, posts, halves = (two_of_each(lab) for _ in range(3))
    for talk in halves:
        talk.socket.sendall(f"GET /say?id=half{talk.family} HTTP/1.1\r\n".encode())
        wait_until(lambda t=talk: t.unacknowledged() == 0, 5, 0.001, what="the first half acknowledged")
    known_everywhere(lab, gets + posts + halves)
    since = marks(lab)
    unplug(lab, "pop1")
    for talk in gets:
        talk.send("GET", f"/say?id=late{talk.family}")
    for talk in posts:
        talk.send("POST", f"/pay?id=late-post{talk.family}", b"ten bytes!")
    for talk in halves:
        talk.socket.sendall(b"Host: vip\r\n\r\n")
    assert all(talk.unacknowledged() > 0 for talk in gets + posts + halves)
    cut_power(lab, "pop1")
    for talk in gets:
        assert talk.response() == said("pop2", f"late{talk.family}")
        assert talk.get("/say?id=on") == said("pop2", "on")
        talk.close()
    for talk in posts:
        refused(talk)
        assert ledger(lab, f"late-post{talk.family}") == []
    for talk in halves:
        assert talk.response() == said("pop2", f"half{talk.family}")
    assert by(wait_healed(lab, since, gets + posts + halves), "rung") == {"idle": 6}


def test_a_safe_request_that_the_dead_owner_had_passed_on_is_asked_again(lab):
    talks = two_of_each(lab, count=3)
    since = marks(lab)
    for number, talk in enumerate(talks):
        talk.number = number
        talk.send("GET", f"/pay?id=safe{number}&silent=pop1")
    for talk in talks:
        wait_until(lambda t=talk: ledger(lab, f"safe{t.number}"), PATIENCE, what="the GET at the application")
        wait_until(lambda t=talk: phase(lab, "pop2", t) == "waiting", PATIENCE, what="the record at pop2")
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        for talk in talks:
            assert talk.response() == said("pop2", f"safe{talk.number}")
            assert [pop for pop, _, _ in ledger(lab, f"safe{talk.number}")] == ["pop1", "pop2"]
            assert talk.get("/say?id=on") == said("pop2", "on")
            talk.nothing_more()
    no_resets(capture)
    assert by(wait_healed(lab, since, talks), "rung") == {"replay": 6}


def test_what_cannot_go_on_ends_at_once_and_says_why(lab):
    """Plain TCP, a WebSocket whose application has not opted in (a Close that says so), a body that nobody recorded."""
    echo_apps(lab)
    tcp = [Talk(lab, "client1", family, port=9100) for family in FAMILIES]
    for talk in tcp:
        talk.socket.sendall(b"echo")
        assert talk.body(4) == b"echo"
    websockets = [Talk(lab, "client1", family, port=80) for family in FAMILIES]
    for talk in websockets:
        talk.socket.sendall(b"GET /ws?interval=10000 HTTP/1.1\r\nHost: vip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert talk.head()[0] == 101
    uploads = two_of_each(lab)
    for talk in uploads:
        talk.send("POST", f"/pay?id=upload{talk.family}", b"x" * 1000, length=100000)
    known_everywhere(lab, tcp + websockets + uploads)
    for talk in uploads:
        wait_until(lambda t=talk: phase(lab, "pop2", t) == "body", PATIENCE, what="the upload's record at pop2")
    since = marks(lab)
    cut_power(lab, "pop1")
    for talk in tcp:
        with pytest.raises(Ended, match="reset"):
            while True:
                talk.more()
    for talk in websockets:
        frame = talk.body(4)
        while frame[0] == 0x81:  # "1", "2" ... (3 bytes each)
            frame = frame[3:] + talk.body(3)
        assert frame == b"\x88\x02\x03\xf4" and talk.end() == "eof", frame
    for talk in uploads:
        refused(talk)
        assert ledger(lab, f"upload{talk.family}") == []
    stories = wait_healed(lab, since, tcp + websockets + uploads)
    print(f"\nno better rung: {by(stories, 'rung')}, {by(stories, 'reason')}")
    assert by(healed(lab, since, tcp), "reason") == {"mode_tcp": 2}
    assert by(healed(lab, since, websockets), "rung") == {"close": 2}
    assert by(healed(lab, since, websockets), "reason") == {"not_resumable": 2}
