"""Exchanges that no validator vouches for: by the journal, by digests of what the client has, by event ids."""
import time

import pytest
from kit_eb import PATIENCE
from kit_heal import (apps_of, by, cut_power, directory, ledger, marks, no_resets, pattern, said, two_of_each, wait_healed)
from lab import wait_until


@pytest.fixture(autouse=True)
def application(lab):
    apps_of(lab)
    yield
    ledger(lab, "")  # fails on whatever is no request


def line(talk):
    data = b""
    while not data.endswith(b"\r\n"):
        data += talk.body(1)
    return data[:-2]


def chunk(talk):
    """The content of the next one; b"" is the last."""
    data = talk.body(int(line(talk), 16))
    assert talk.body(2) == b"\r\n"
    return data


def sent(lab, pop, talk):
    return directory(lab, pop).get((talk.family, talk.port), {}).get("out_sent", 0)


@pytest.mark.parametrize("kind", ["plain", "chunks"])
def test_a_body_without_a_validator_is_fetched_again_and_compared(lab, kind):
    size = 400_000
    talks = two_of_each(lab, rcvbuf=16384)
    since = marks(lab)
    for talk in talks:
        talk.send("GET", f"/{kind}?n={size}&rate=400000")
        status, headers = talk.head()
        assert status == 200 and headers["x-app-pop"] == "pop1"
        talk.got = talk.body(60_000) if kind == "plain" else b""
        while len(talk.got) < 60_000:
            talk.got += chunk(talk)
        wait_until(lambda t=talk: sent(lab, "pop2", t) > 60_000, PATIENCE, what="the record at pop2")
    with lab.capture("client1", "tcp") as capture:
        gone = cut_power(lab, "pop1")
        for talk in talks:
            if kind == "plain":
                talk.got += talk.body(size - len(talk.got))
            else:
                while part := chunk(talk):
                    talk.got += part
            assert talk.got == pattern(size)
            assert talk.get("/say?id=on") == said("pop2", "on")
            talk.close()
    no_resets(capture)
    stories = wait_healed(lab, since, talks)
    assert by(stories, "rung") == {"refetch": 2}, stories
    print(f"\n{kind} without a validator: whole {(time.monotonic() - gone) * 1000:.0f} ms after the cut")


def test_the_answer_to_a_post_is_finished_from_the_journal(lab):
    """Executed by the owner, answered, and half delivered: nobody is asked again."""
    size = 60_000
    talks = two_of_each(lab, rcvbuf=4096)
    since = marks(lab)
    for talk in talks:
        talk.send("POST", f"/pay?id=journal{talk.family}&n={size}", b"ten bytes!")
        assert talk.head()[0] == 200
        wait_until(lambda t=talk: sent(lab, "pop2", t) >= size, PATIENCE, what="the whole answer in pop2's record")
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        for talk in talks:
            assert talk.body(size) == pattern(size)
            assert talk.get("/say?id=on") == said("pop2", "on")
            assert ledger(lab, f"journal{talk.family}") == [("pop1", "POST", 10)]
            talk.close()
    no_resets(capture)
    assert by(wait_healed(lab, since, talks), "rung") == {"journal": 2}


def test_an_event_stream_goes_on_without_a_gap(lab):
    talks = two_of_each(lab)
    since = marks(lab)

    def number(talk, expected):
        while b"\n\n" not in talk.stream:
            talk.stream += chunk(talk)
        event, _, talk.stream = talk.stream.partition(b"\n\n")
        assert event == f"id: {expected}\ndata: number {expected}".encode()

    for talk in talks:
        talk.send("GET", "/events")
        status, headers = talk.head()
        assert status == 200 and headers["content-type"] == "text/event-stream"
        talk.stream, talk.next = b"", 1
        while talk.next <= 5:
            number(talk, talk.next)
            talk.next += 1
    with lab.capture("client1", "tcp") as capture:
        gone = cut_power(lab, "pop1")
        for talk in talks:
            while talk.next <= 40:
                number(talk, talk.next)
                talk.next += 1
        print(f"\nevent streams: event 40 of both {(time.monotonic() - gone) * 1000:.0f} ms after the cut")
        for talk in talks:
            talk.socket.close()
    no_resets(capture)
    assert by(wait_healed(lab, since, talks), "rung") == {"events": 2}
