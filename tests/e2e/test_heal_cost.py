"""What healing costs while nobody dies: records, bytes to a peer and journal bytes, for each request of a kind.

Requests come one each PAUSE: behind each other without a pause many share a record, and cost less."""
import time

import pytest
from kit_eb import PATIENCE
from kit_heal import Talk, apps_of, directory, ledger, pattern
from kit_websocket import Raw
from lab import wait_until
from labkit import files

COUNT, HELD, PAUSE = 40, 10, 0.05  # seconds


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")  # fails on whatever is no request


class Cost:
    """Of what was done since: by pop1, for `count` requests; each record goes to two peers."""

    def __init__(self, lab):
        self.lab, self.before = lab, None
        self.before = self.settled()

    def settled(self):
        """Everything published was sent."""
        seen = []

        def still():
            seen.append({"published": self.lab.metric("pop1", "suture_records_published_total"),
                         "records": self.lab.metric("pop1", "suture_replication_records_total") / 2,
                         "bytes": self.lab.metric("pop1", "suture_replication_bytes_total") / 2})
            return len(seen) > 1 and seen[-1] == seen[-2]
        wait_until(still, PATIENCE, 0.3, "state sync is silent")
        return seen[-1]

    def each(self, count):
        now = self.settled()
        return {key: (value - self.before[key]) / count for key, value in now.items()}


def journal(lab):
    return lab.metric("pop1", "suture_journal_bytes")


def requests(lab, family, method, target, size, body=b"", port=9000):
    talk = Talk(lab, "client1", family, port=port)
    cost = Cost(lab)
    for number in range(COUNT):
        talk.send(method, target.format(number=number), body)
        status, headers = talk.head()
        assert status == 200 and int(headers["content-length"]) == size
        talk.body(size)
        time.sleep(PAUSE)
    found = cost.each(COUNT)
    talk.close()
    return found


def held(lab, make):
    """Of an answer that the client does not take: (journal bytes, bytes to a peer) a session. `make` opens one."""
    before, cost = journal(lab), Cost(lab)
    talks = [make() for _ in range(HELD)]
    names = {(talk.family, talk.port) for talk in talks}
    sent = []

    def quiet():
        there = directory(lab, "pop1")
        if not names <= there.keys():
            return False
        sent.append([there[name]["out_sent"] for name in sorted(names)])
        return len(sent) > 1 and sent[-1] == sent[-2] and min(sent[-1]) > 0
    wait_until(quiet, PATIENCE, 0.3, "the owner has written what it can")
    found = (journal(lab) - before) / HELD, cost.each(HELD)["bytes"]
    lab.end_connections("client1")
    for talk in talks:
        talk.socket.close()
    wait_until(lambda: journal(lab) <= before, PATIENCE, what="the journals end with their sessions")
    return found


def asked(lab, family, method, target, port=9000):
    talk = Talk(lab, "client1", family, port=port, rcvbuf=4096)
    talk.send(method, target, b"ten bytes!" if method == "POST" else b"")
    talk.body(100)
    return talk


def show(name, cost, of_held=()):
    print(f"{name:28} {cost['published']:6.2f} {cost['records']:6.2f} {cost['bytes']:8.0f}" + "".join(f" {one:8.0f}" for one in of_held))


HEAD = f"{'each':28} {'made':>6} {'sent':>6} {'bytes':>8} and while the client takes nothing: journal, bytes"


@pytest.mark.parametrize("family", [4, 6])
def test_records_and_journal_of_requests(lab, family):
    small, large = 1024, files.SIZES["1m"]
    print("\n" + HEAD)
    get = requests(lab, family, "GET", "/1k", small, port=80)
    show("GET 1 kB", get)
    post = requests(lab, family, "POST", "/pay?id=cost{number}&n=10000", 10_000, b"ten bytes!")
    post_held = held(lab, lambda: asked(lab, family, "POST", "/pay?id=held&n=10000"))
    show("POST, answer 10 kB", post, post_held)
    download = requests(lab, family, "GET", "/1m", large, port=80)
    download_held = held(lab, lambda: asked(lab, family, "GET", "/1m", port=80))
    show("GET 1 MB, strong ETag", download, download_held)
    unvouched = requests(lab, family, "GET", "/plain?n=1048576", large)
    unvouched_held = held(lab, lambda: asked(lab, family, "GET", "/plain?n=1048576"))
    show("GET 1 MB, no validator", unvouched, unvouched_held)
    # A record describes large things and copies small ones (docs/ARCHITECTURE.md).
    assert 0 < get["records"] <= get["published"] and get["bytes"] < 4096
    assert 10_000 <= post_held[0] < 12_000 and post_held[1] > 10_000, "the answer to a POST travels in the record"
    for one, of_held in ((download, download_held), (unvouched, unvouched_held)):
        assert one["bytes"] < large / 10 and max(of_held) < large / 10


def events(lab, family):
    talk = Talk(lab, "client1", family)
    cost = Cost(lab)
    talk.send("GET", f"/events?pause={PAUSE / 2}&until=" + str(COUNT))
    status, _ = talk.head()
    assert status == 200
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        data += talk.some()
    assert data.count(b"data: number ") == COUNT
    found = cost.each(COUNT)
    talk.socket.close()
    return found


def echoed(lab, family, path, count):
    """A text of 1 kB to the application, and one back, `count` times."""
    client = Raw(lab, "client1", family, path)
    text = pattern(1000).translate(bytes(33 + i % 90 for i in range(256)))
    cost = Cost(lab)
    for _ in range(count):
        client.socket.sendall(client.frame(text))
        while text.decode() not in client.text():
            pass
        time.sleep(PAUSE)
    found = cost.each(count)
    client.socket.sendall(client.frame(b"\x03\xe8", 8))
    client.socket.close()
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_records_and_journal_of_streams(lab, family):
    print("\n" + HEAD)
    show("SSE event in two pieces", events(lab, family))
    plain = echoed(lab, family, "/ws?interval=3600000", COUNT)
    show("WebSocket 1 kB and back", plain)
    resumable = echoed(lab, family, "/chat?name=cost", COUNT)
    show("... the application opted in", resumable)
    assert resumable["bytes"] > plain["bytes"] > 0
    assert resumable["bytes"] > 1000, "the client's messages travel in the record"
