"""An upgrade, one PoP after the other: the previous build and this one run side by side and heal each other's sessions.

The previous one: tests/upgrade/previous; this one: SUTURE_BIN, or the release build. The lab and the clients are those of tests/e2e.
"""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "tests" / "e2e"), str(SOURCE / "docker")]

from kit_eb import PATIENCE  # noqa: E402
from kit_heal import (FAMILIES, Talk, apps_of, by, cut_power, download, known_everywhere, ledger, marks, no_resets, said,  # noqa: E402
                      two_of_each, wait_healed)
from kit_websocket import Library, Store, counts, settled  # noqa: E402
from lab import Lab, wait_until  # noqa: E402
from labkit import demo_capture, procs  # noqa: E402

BUILD_SECONDS = 1500
NO_HISTORY = 3  # tests/upgrade/previous
POPS = ("pop1", "pop2", "pop3")
# What two builds that do not understand each other would say.
MISUNDERSTOOD = ("version", "bad_message", "out_of_sequence")
SIZE = 1_200_000


@pytest.fixture(scope="module")
def previous():
    done = subprocess.run([SOURCE / "tests" / "upgrade" / "previous"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=BUILD_SECONDS)
    if done.returncode == NO_HISTORY:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def lab(previous):
    one = Lab(f"up{os.getpid()}")
    one.ok("down")
    try:
        one.ok("up", timeout=BUILD_SECONDS)
        one.this = one.state.load()["suture"]
        yield one
    finally:
        one.end_processes()
        one.ok("down")


def run_builds(lab, **builds):
    """Each PoP runs that program: what the lab remembers of `up` is what a PoP that starts takes."""
    for pop in POPS:
        program = builds.get(pop, lab.this)
        pid = procs.pid_of(lab.state, pop, "suture")
        if pid and os.readlink(f"/proc/{pid}/exe") == program:
            continue
        if pid:
            lab.ok("crash", pop)
        with lab.state.lock():
            lab.state.save({**lab.state.load(), "suture": program})
        lab.ok("start", pop)
        assert os.readlink(f"/proc/{procs.pid_of(lab.state, pop, 'suture')}/exe") == program
    lab.ok("switch", "client1", "pop1")
    gauges = ("suture_peer_up", "suture_peer_synced", "suture_peer_hint_ok", "suture_peer_caught_up")
    for at in POPS:
        for of in POPS:
            if of != at:
                wait_until(lambda a=at, o=of[3:]: all(lab.metric(a, name, peer=o) == 1 for name in gauges), PATIENCE, what=f"{at} knows {of}")


class Events:
    """One event stream; next() checks that none is missing."""

    def __init__(self, lab, family):
        self.talk, self.number, self._held = Talk(lab, "client1", family), 0, b""
        self.talk.send("GET", "/events")
        status, headers = self.talk.head()
        assert status == 200 and headers["content-type"] == "text/event-stream"

    def next(self):
        while b"\n\n" not in self._held:
            size = b""
            while not size.endswith(b"\r\n"):
                size += self.talk.body(1)
            self._held += self.talk.body(int(size, 16))
            assert self.talk.body(2) == b"\r\n"
        event, _, self._held = self._held.partition(b"\n\n")
        self.number += 1
        assert event == f"id: {self.number}\ndata: number {self.number}".encode()

    def until(self, number):
        while self.number < number:
            self.next()


def chat_is_whole(store, name, client, until):
    """Everything that it said was told to it and to the store once, and every number of the chat came once."""
    words = [str(number) for number in range(1, until + 1)]
    assert [text.split(": ", 1)[1] for text in client.texts if text.split(" ", 2)[2].startswith(f"{name}: ")] == words
    assert store.said_by(name) == words
    first = counts(client.texts)[0]
    assert counts(client.texts) == list(range(first, first + len(client.texts)))
    assert not client.closed and len(client.opened) == 1


@pytest.mark.parametrize("old", ["pop1", "pop2"], ids=["the_previous_dies_this_heals", "this_dies_the_previous_heals"])
def test_sessions_of_one_build_go_on_at_the_other(lab, previous, old):
    """pop1 loses power with sessions of every kind; pop2, of the other build, goes on with all of them."""
    run_builds(lab, **{old: previous})
    apps_of(lab)
    store, names = Store(lab), [f"{old}-{os.getpid()}-{family}" for family in FAMILIES]
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        idle = two_of_each(lab)
        chats = [Library(lab, "client1", family, f"/chat?name={name}") for family, name in zip(FAMILIES, names)]
        for chat in chats:
            chat.say(20)
        for chat in chats:
            chat.wait(lambda c=chat: len(c.texts) >= 40, "all words of both")
        streams = [Events(lab, family) for family in FAMILIES]
        downloads = [download(Talk(lab, "client1", family), SIZE) for family in FAMILIES]

        # A switch: what pop1 owns is forwarded by a PoP of the other build (or past it), and back.
        for pop in ("pop2", "pop3", "pop1"):
            lab.ok("switch", "client1", pop)
            for number, talk in enumerate(idle):
                assert talk.get(f"/say?id={number}") == said("pop1", number)
        for stream in streams:
            stream.until(5)
        for reader in downloads:
            reader.beyond(200_000)
        settled(lab, chats)
        talks = idle + [reader.talk for reader in downloads] + [stream.talk for stream in streams]
        known_everywhere(lab, talks + chats)

        cut_power(lab, "pop1")
        for chat in chats:
            chat.say(50)
        for number, talk in enumerate(idle):
            assert talk.get(f"/say?id={number}") == said("pop2", number)
        for stream in streams:
            stream.until(60)
        for reader in downloads:
            reader.check()
            assert reader.talk.get("/say?id=on") == said("pop2", "on")
        for chat, name in zip(chats, names):
            chat.wait(lambda c=chat: len(c.texts) >= 100, "what both have said since")
            chat_is_whole(store, name, chat, 50)
        stories = wait_healed(lab, since, talks + chats)
        for chat in chats:
            chat.close()
        for talk in idle + [reader.talk for reader in downloads]:
            talk.close()
        for stream in streams:
            stream.talk.socket.close()
    no_resets(capture)
    ours = {(talk.family, talk.port) for talk in talks + chats}
    flows = {key: flow for key, flow in demo_capture.read(capture.path).items() if key[:2] in ours}
    assert len(flows) == len(ours) == 8
    assert by(stories, "rung") == {"idle": 2, "range": 2, "events": 2, "reattach": 2}
    assert {story["pop"] for story in stories} == {"pop2"}
    for pop in ("pop2", "pop3"):
        refused = {reason: lab.metric(pop, "suture_statesync_refused_total", reason=reason) for reason in MISUNDERSTOOD}
        assert not any(refused.values()), f"{pop}: {refused}"
    ledger(lab, "")  # fails on whatever is no request
    print(f"\n{old} of the previous build: 8 of 8 sessions lived, by rung {by(stories, 'rung')}")


@pytest.mark.parametrize("history", ["none", "shallow"])
def test_without_history_it_says_so(tmp_path, history):
    """Then there is nothing to upgrade from, and the tests above are skipped with that line."""
    (tmp_path / "tests" / "upgrade").mkdir(parents=True)
    for name in ("previous", "PREVIOUS"):
        shutil.copy(SOURCE / "tests" / "upgrade" / name, tmp_path / "tests" / "upgrade" / name)
    if history == "shallow":
        git = ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@x"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all that a shallow clone has"]):
            subprocess.run([*git, *words], check=True)
    done = subprocess.run([tmp_path / "tests" / "upgrade" / "previous"], capture_output=True, text=True, check=False)
    assert done.returncode == NO_HISTORY and "does not hold commit" in done.stderr and not done.stdout
