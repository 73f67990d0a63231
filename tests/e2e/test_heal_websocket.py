"""WebSocket sessions whose owner loses power: a chat that goes on at another PoP, and one that is told to come again."""
import os
import select
import signal
import uuid

import pytest
from kit_eb import PATIENCE
from kit_heal import FAMILIES, Ended, by, cut_power, known_everywhere, marks, no_resets, unplug, wait_healed
from kit_websocket import Library, Raw, Store, counts, settled
from lab import wait_until
from labkit import procs


@pytest.fixture
def store(lab):
    return Store(lab)


def people(count=2):
    return [f"one{number}-{uuid.uuid4().hex[:8]}" for number in range(count)]


def numbers(until):
    return [str(number) for number in range(1, until + 1)]


def own(name, texts):
    """What the chat has told of that one's own words."""
    return [text.split(": ", 1)[1] for text in texts if text.split(" ", 2)[2].startswith(f"{name}: ")]


def silent_until_now(capture, clients):
    """No RST and no FIN from the VIP to any of them."""
    flows = capture.flows()
    for client in clients:
        flow = flows[client.family, client.port, 80]
        assert flow.packets and not flow.resets and not flow.vip_fin, f"IPv{client.family}: RST {flow.resets}, FIN {flow.vip_fin}"


@pytest.mark.parametrize("deflate", [True, False], ids=["deflate", "plain"])
def test_a_chat_goes_on_and_every_number_arrives_once(lab, store, deflate):
    """The clients' words meet a dead link, and another client's, at another PoP, wait for them in Redis. Before and after
    they count as well."""
    who = people()
    clients = [Library(lab, "client1", family, f"/chat?name={name}", deflate) for family, name in zip(FAMILIES, who)]
    speaker = Library(lab, "client2", 4, "/chat?name=speaker", deflate)
    assert {one.opened[0][1:] for one in clients} == {("pop1", "permessage-deflate" if deflate else "-")}
    assert speaker.opened[0][1] == "pop3"
    for one in [*clients, speaker]:
        one.say(30)
    for one in clients:
        one.wait(lambda o=one: len(o.texts) >= 90, "all words of all three")
    settled(lab, clients)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        unplug(lab, "pop1")
        for one in [*clients, speaker]:
            one.say(60)
        # Said while nobody is there: these can only be counted by the heir.
        wait_until(lambda: len(store.said_by("speaker")) >= 40, PATIENCE, what="the other PoP's words")
        cut_power(lab, "pop1")
        for one in clients:
            one.wait(lambda o=one: len(o.texts) >= 180, "what all three have said")
        for one in [*clients, speaker]:
            one.say(80)
        for one in clients:
            one.wait(lambda o=one: len(o.texts) >= 240, "what all three have said since")
        settled_at = [store.session_of(name) for name in who]
    silent_until_now(capture, clients)
    no_resets(capture)
    for one, name, session in zip(clients, who, settled_at):
        assert store.said_by(name) == own(name, one.texts) == numbers(80)
        assert session["received"] == "80", session
        first = counts(one.texts)[0]
        assert counts(one.texts) == list(range(first, first + len(one.texts)))
        assert not one.closed and len(one.opened) == 1
    assert by(wait_healed(lab, since, clients), "rung") == {"reattach": 2}
    for one in [*clients, speaker]:
        one.close()
    for name in who:
        wait_until(lambda n=name: store.session_of(n) is None, PATIENCE, what="the goodbye at the chat")


def test_messages_that_the_cut_divides(lab, store):
    """A part of a fragment's frame from the client is with the dead PoP, and part of a long message to it with the client."""
    who, size = people(), 25_000  # both are told both: less than the 64 KiB that a record holds
    clients = [Raw(lab, "client1", family, f"/chat?name={name}", rcvbuf=4096) for family, name in zip(FAMILIES, who)]
    long = {}
    for one, name in zip(clients, who):
        one.socket.sendall(one.frame(b"short"))
        one.name, one.begin = name, []
    for one in clients:
        one.begin += [one.text() for _ in who]
    for one in clients:
        long[one.name] = one.name * (size // len(one.name))
        one.socket.sendall(one.frame(long[one.name].encode()))
        one.later = one.frame(b"frag", final=False) + one.frame(b"ping", 9) + one.frame(b"mented", 0)
        one.socket.sendall(one.later[:-3])
    wait_until(lambda: all(store.said_by(name) == ["short", long[name]] for name in who), PATIENCE, what="the long messages said")
    wait_until(lambda: all(view["out_sent"] > 2 * size for view in settled(lab, clients)), PATIENCE, what="all of it in the records")
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        for one in clients:
            one.socket.sendall(one.later[-3:])
        for one in clients:
            one.pongs, one.texts = [], list(one.begin)
            while len(one.texts) < 6:
                opcode, data = one.receive()
                if opcode == 1:
                    one.texts.append(data.decode())
                else:
                    one.pongs.append((opcode, data))
    silent_until_now(capture, clients)
    for one in clients:
        assert own(one.name, one.texts) == ["short", long[one.name], "fragmented"]
        first = counts(one.texts)[0]
        assert counts(one.texts) == list(range(first, first + 6))
        assert one.pongs == [(10, b"ping")], one.pongs
        assert store.said_by(one.name) == ["short", long[one.name], "fragmented"]
    assert by(wait_healed(lab, since, clients), "rung") == {"reattach": 2}
    for one in clients:
        one.socket.sendall(one.frame(b"\x03\xe8", 8))
        assert one.receive() == (8, b"\x03\xe8") and one.end() == "eof"


def test_power_cut_in_the_moment_of_the_words(lab, store):
    """Some are recorded, some told, some under way: whoever goes on has every word once, and whoever does not is told so."""
    who = people(20)
    clients = [Raw(lab, "client1", FAMILIES[number % 2], f"/chat?name={name}") for number, name in enumerate(who)]
    known_everywhere(lab, clients)
    since, before, pid = marks(lab), len(store.log()), procs.pid_of(lab.state, "pop1", "suture")
    for one, name in zip(clients, who):
        one.name, one.texts, one.how = name, [], "reattach"
        one.socket.sendall(one.frame(b"first"))
    wait_until(lambda: len(select.select([one.socket for one in clients], [], [], 0)[0]) >= 10, PATIENCE, 0, what="ten told")
    os.kill(pid, signal.SIGKILL)
    cut_power(lab, "pop1")
    stories = {(story["flow"].partition(">")[0].startswith("["), int(story["flow"].partition(">")[0].rpartition(":")[2])): story
               for story in wait_healed(lab, since, clients)}
    for one in clients:
        one.story = stories[one.family == 6, one.port]
        try:
            one.socket.sendall(one.frame(b"last"))
        except ConnectionError:  # told here, the reset is not told again where one reads
            one.how = "reset"
    for one in clients:
        try:
            while own(one.name, one.texts)[-1:] != ["last"]:
                opcode, data = one.receive()
                if opcode == 8:
                    assert data == b"\x03\xf4", data
                    one.how = "close"
                    break
                one.texts.append(data.decode())
        except Ended as ended:
            one.how = one.how if one.how == "reset" else ended.how
    log = store.log()
    for one in clients:
        assert one.how == one.story["rung"], (one.how, one.story)
        assert one.texts == log[before:before + len(one.texts)], "a gap, or a word twice"
        assert store.said_by(one.name) in ([["first", "last"]] if one.how == "reattach" else [[], ["first"]])
        one.socket.close()
    why = by([one.story for one in clients if one.how != "reattach"], "reason")
    assert set(why) <= {"lost_bytes", "cursor_beyond"}, why
    print(f"\nwords and death at once: {by([one.story for one in clients], 'rung')}, ends by reason {why}")


def test_a_client_of_an_application_that_has_not_opted_in_comes_again(lab):
    clients = [Library(lab, "client1", family, "/ws?interval=3600000") for family in FAMILIES]
    for one in clients:
        one.wait(lambda o=one: o.texts, "the first number")
    settled(lab, clients)
    since = marks(lab)
    with lab.capture("client1", "tcp") as capture:
        cut_power(lab, "pop1")
        for one in clients:
            one.wait(lambda o=one: len(o.opened) == 2 and len(o.texts) == 2, "the second connection")
    no_resets(capture)
    for one in clients:
        assert one.closed == ["1012"]
        assert [pop for _, pop, _ in one.opened] == ["pop1", "pop2"]
        one.close()
    assert by(wait_healed(lab, since, clients), "rung") == {"close": 2}
