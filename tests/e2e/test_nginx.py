"""Behind a real nginx: what Suture passes on is read as the same messages, and what it refuses never gets there.

Every row goes to nginx twice, directly and through Suture. docs/strictness.md says what may differ: fields of one hop, and names
that are the proxy's own."""
import dataclasses
import random
import time

import pytest
from kit_nginx import Pair, statuses
from lab import wait_until
from test_startup import host, pki  # noqa: F401  fixtures

MUTATIONS = 400


@pytest.fixture
def pair(host):  # noqa: F811
    return Pair(host)


def request(line="GET / HTTP/1.1", fields="", body=b"", host="Host: a\r\n"):  # noqa: F811
    text = f"{line}\r\n{host}{fields}\r\n"
    return text.encode("latin-1") + body


def post(fields, body=b""):
    return request("POST /p HTTP/1.1", fields, body)


def target(text):
    return request(f"GET {text} HTTP/1.1")


def chunked(*parts, extension="", trailers="", zeros=""):
    wire = b"".join(f"{zeros}{len(part):X}{extension}\r\n".encode() + part + b"\r\n" for part in parts)
    return post("Transfer-Encoding: chunked\r\n", wire + f"{zeros}0{extension}\r\n{trailers}\r\n".encode())


BINARY = bytes(range(256)) * 40
GET = request()

# (name, bytes, messages)
PASSED = [
    ("plain", GET, 1),
    ("names in odd cases", request(fields="aCCept: */*\r\nUSER-AGENT: x\r\ncookie: a=1; b=2\r\n"), 1),
    ("host in odd case", request(host="hOST: A.Example\r\n"), 1),
    ("white space around a value", request(fields="X-A: \t b c \t\r\nX-B:b\r\n"), 1),
    ("empty values", request(fields="X-A:\r\nX-B: \r\nAccept:\r\n"), 1),
    ("one name many times", request(fields="X-A: 1\r\nx-a: 2\r\nX-A: \r\nX-A: 1, 2\r\n"), 1),
    ("tab and non-ASCII inside a value", request(fields="X-A: b\tc \xe4\xff\r\n"), 1),
    ("every character of a token", request(fields="!#$%&'*+-.^_`|~09azAZ: 1\r\nx_a: 1\r\nContent_Length: 5\r\n"), 1),
    ("colons, quotes, commas", request(fields='X-A: b:c "d\\"e", f;g\r\nX-B: :\r\n'), 1),
    ("a field of 20 kB", request(fields=f"X-A: {'x' * 20000}\r\n"), 1),
    ("90 fields", request(fields="".join(f"X-{n}: {n}\r\n" for n in range(90))), 1),
    ("an empty line in front", b"\r\n" + GET, 1),
    ("unknown methods", request("M-SEARCH / HTTP/1.1") + request("PROPFIND /x HTTP/1.1"), 2),
    ("HEAD", request("HEAD /h HTTP/1.1"), 1),
    ("DELETE, OPTIONS", request("DELETE /d HTTP/1.1") + request("OPTIONS /o HTTP/1.1"), 2),
    ("PUT without content", request("PUT /u HTTP/1.1", "Content-Length: 0\r\n"), 1),
    ("POST without any length", request("POST /p HTTP/1.1"), 1),
    ("query as it is", target("/a?b=%&c=%00?/../..&d=a+b%20c"), 1),
    ("escapes in the path", target("/a%20%2F%2f%c3%a4%7E~"), 1),
    ("characters that browsers do not escape", target("/a|b\"<>\\^`{}[]"), 1),
    ("dots within the root", target("/a/./../b/..c/...;x=1"), 1),
    ("slashes", target("//a///b//"), 1),
    ("a target of 6 kB", target("/" + "x" * 3000 + "?" + "y" * 3000), 1),
    ("absolute form", target("http://a/x?y"), 1),
    ("absolute form, host in capitals, port", target("HTTP://A:80/x"), 1),
    ("host and port", request(host="Host: a.example:8080\r\n"), 1),
    ("IPv6 host", request(host="Host: [2001:db8::1]:80\r\n"), 1),
    ("host with a dot at its end", request(host="Host: a.example.\r\n"), 1),
    ("length", post("Content-Length: 3\r\n", b"abc"), 1),
    ("length with zeros in front", post("Content-Length: 0003\r\n", b"abc"), 1),
    ("GET with content", request(fields="Content-Length: 3\r\n", body=b"abc"), 1),
    ("binary content", post(f"Content-Length: {len(BINARY)}\r\n", BINARY), 1),
    ("content that looks like a request", post(f"Content-Length: {len(GET)}\r\n", GET) + GET, 2),
    ("chunked", chunked(b"abc", b"x" * 300), 1),
    ("chunks of one byte", chunked(*(bytes([n]) for n in range(256))), 1),
    ("chunks of 200 kB", chunked(*(BINARY[n:] for n in range(0, 5000, 250))), 1),
    ("chunk extensions", chunked(b"abc", b"de", extension=';a="b;c";d'), 1),
    ("zeros in front of chunk sizes", chunked(b"abc", b"de", zeros="000"), 1),
    ("trailers", chunked(b"abc", trailers="X-Sum: 1\r\nX-B: 2\r\n"), 1),
    ("chunks of nothing", chunked(), 1),
    ("chunks that look like requests", chunked(GET, b"0\r\n\r\n" + GET) + GET, 2),
    ("coding in capitals", post("TRANSFER-ENCODING: CHUNKED\r\n", b"3\r\nabc\r\n0\r\n\r\n"), 1),
    ("pipelined", b"".join(target(f"/{n}?{n}") for n in range(12)), 12),
    ("pipelined with content", (post("Content-Length: 3\r\n", b"abc") + chunked(b"de", extension=";x") + target("/g")) * 4, 12),
    ("empty lines between", GET + b"\r\n" + target("/2"), 2),
    ("Expect", post("Expect: 100-continue\r\nContent-Length: 3\r\n", b"abc"), 1),
    ("Expect and chunks", request("PUT /e HTTP/1.1", "expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n"), 1),
    ("Range, If-*", request(fields='Range: bytes=0-1,3-\r\nIf-Range: "x"\r\nIf-None-Match: W/"a", "b"\r\n'), 1),
    ("HTTP/1.0", request("GET /old HTTP/1.0"), 1),
    ("HTTP/1.0 with content", request("POST /old HTTP/1.0", "Content-Length: 3\r\n", b"abc"), 1),
    ("HTTP/1.0, kept", request("GET /1 HTTP/1.0", "Connection: keep-alive\r\n") + request("GET /2 HTTP/1.0"), 2),
    ("the last one", request(fields="Connection: close\r\n") + GET, 1),
    ("names of one hop", request(fields="Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nX-A: 1\r\n"), 1),
    ("our own names", request(fields="Suture-Replay: 1\r\nSUTURE_RESUME: x\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Host: b\r\nX-A: 1\r\n"), 1),
    ("an upgrade that nobody takes", request(fields="Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 1),
    ("h2c", request(fields="Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n"), 1),
]

CHUNK = b"3\r\nabc\r\n0\r\n\r\n"
TE = "Transfer-Encoding: chunked\r\n"
REFUSED = [
    post("Content-Length: 3\r\n" + TE, CHUNK), post(TE + "Content-Length: 0\r\n", CHUNK), post("Content-Length: 3\r\n" * 2, b"abc"),
    post("Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd"), post("Content-Length: 3, 3\r\n", b"abc"), post("Content-Length: +3\r\n", b"abc"),
    post("Content-Length: 0x3\r\n", b"abc"), post("Content-Length: 18446744073709551619\r\n", b"abc"), post("Content-Length:\r\n", b"abc"),
    post("Content-Length : 3\r\n", b"abc"), post(TE + TE, CHUNK), post("Transfer-Encoding: chunked, chunked\r\n", CHUNK),
    post("Transfer-Encoding: chunked, gzip\r\n", CHUNK), post("Transfer-Encoding: identity\r\n", b"abc"),
    post("Transfer-Encoding: xchunked\r\n", CHUNK), post("Transfer-Encoding: gzip, chunked\r\n", CHUNK), post("Transfer-Encoding:\r\n", CHUNK),
    post("Transfer-Encoding:\r\n chunked\r\n", CHUNK), post("Transfer-Encoding: \x0bchunked\r\n", CHUNK), post("Transfer-Encoding : chunked\r\n", CHUNK),
    request("POST / HTTP/1.0", TE, CHUNK), request("TRACE / HTTP/1.1", "Content-Length: 3\r\n", b"abc"),
    request(fields="X-A: b\nX-B: c\r\n"), request(fields="X-A: b\rX-B: c\r\n"), request(fields="X-A: b\r\n c\r\n"), request(fields="X-A : b\r\n"),
    request(fields="X-A\r\n"), request(fields=": b\r\n"), request(fields="X A: b\r\n"), request(fields="X-A: b\0c\r\n"), request(fields="X\xe4: b\r\n"),
    b"GET / HTTP/1.1\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\n", request("GET /\rx HTTP/1.1"), request("GET /a b HTTP/1.1"),
    request("GET  / HTTP/1.1"), request("GET /  HTTP/1.1"), request("GET\t/\tHTTP/1.1"), request("get / HTTP/1.1"), request("GET / HTTP/1.10"),
    request("GET / http/1.1"), request("GET / HTTP/1.2"), request("GET / HTTP/2.0"), request("CONNECT a:443 HTTP/1.1"), target("x"), target("*"),
    target("a:80"), target("/#a"), target("/\xe4"), target("/\0"), target("/a%4"), target("/a%zz"), target("/a%00"), target("/a/../../etc"),
    target("/%2e%2E/etc"), target("ftp://a/"), target("http:///x"), target("http://u@a/"), target("http://b/"), target("http://a:81/"),
    request(host=""), request(host="Host: a\r\nHost: b\r\n"), request(host="Host: a\r\nhost: a\r\n"), request(host="Host:\r\n"),
    request(host="Host: a/b\r\n"), request(host="Host: u@a\r\n"), request(host="Host: a, b\r\n"), request(host="Host: a:65536\r\n"),
    request(host="Host: ::1\r\n"), request(fields=f"X-A: {'x' * 33000}\r\n"), target("/" + "x" * 9000), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
HIDDEN = target("/hidden")

BAD_CHUNKS = [b"zz\r\n", b"\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3 \r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"3\r\nabc\n", b"3;a\nabc",
              b"3;\x01\r\nabc\r\n", b"3;" + b"x" * 300, b"10000000000000000\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX\r\n\r\n",
              b"0\r\nX: a\nY: b\r\n\r\n", b"0\n\r\n", b"0\r\n\rx"]


def both(pair, data):
    """(nginx' own messages, those through Suture, statuses to the client through Suture)"""
    pair.say(pair.nginx, data)
    direct = pair.read()
    answers = pair.say(pair.suture, data)
    return direct, pair.read(), statuses(answers)


def test_nginx_reads_the_same_messages(pair):
    total = 0
    for name, data, count in PASSED:
        direct, through, answered = both(pair, data)
        assert len(direct) == count, f"{name}: nginx itself reads {direct}"
        assert through == direct, f"{name}:\nnginx alone:    {direct}\nthrough Suture: {through}"
        assert answered == [200] * count, f"{name}: {answered}"
        total += count
    wait_until(lambda: len(pair.access.read_bytes().splitlines()) >= 2 * total, 20, what="nginx' access log")
    logged = pair.logged()
    refused = [line for line in logged if line[0] != 200]
    assert not refused and len(logged) == 2 * total, refused
    print(f"\nnginx: {len(PASSED)} rows, {total} messages, read alike with and without Suture")


def test_what_nginx_does_not_take_is_its_own_answer(pair):
    """Legal, passed on, and refused by nginx: the client gets nginx' word, and the connection behind it is in order."""
    for data, status in ((request("OPTIONS * HTTP/1.1"), 400), (request("TRACE / HTTP/1.1"), 405)):
        direct, through, answered = both(pair, data)
        assert (direct, through, answered) == ([], [], [status]), (data, direct, through, answered)
    direct, through, answered = both(pair, request("GET / HTTP/1.0", host=""))
    assert answered == [200] and [one.target for one in through] == [one.target for one in direct] == ["/"]
    assert through[0].host == pair.suture[0], "who names no host gets the address"


def test_what_is_refused_never_reaches_nginx(pair):
    taken = [pair.metric("suture_upstream_connects_total"), pair.metric("suture_upstream_reuses_total")]
    for data in REFUSED:
        answers = pair.say(pair.suture, data + b"\r\n\r\n" + HIDDEN)
        answered = statuses(answers)
        assert len(answered) == 1 and answered[0] in (400, 414, 431, 501, 505), (data, answers)
        assert b"\r\nConnection: close\r\n" in answers, (data, answers)
        # ... and behind a good one.
        answered = statuses(pair.say(pair.suture, GET + data + b"\r\n\r\n" + HIDDEN))
        assert answered[0] == 200 and len(answered) == 2 and answered[1] >= 400, (data, answered)
    assert [one.target for one in pair.read()] == ["/"] * len(REFUSED)
    wait_until(lambda: len(pair.access.read_bytes().splitlines()) >= len(REFUSED) + 2, 20, what="nginx' access log")
    assert pair.logged() == [(200, "GET / HTTP/1.1")] * len(REFUSED)
    used = [pair.metric("suture_upstream_connects_total"), pair.metric("suture_upstream_reuses_total")]
    assert sum(used) - sum(taken) == len(REFUSED)
    print(f"\nnginx: of {len(REFUSED)} refused requests nothing reached it")


def test_of_bad_chunks_nginx_never_sees_the_end(pair):
    for data in BAD_CHUNKS:
        answered = statuses(pair.say(pair.suture, post(TE, b"2\r\nok\r\n" + data + HIDDEN)))
        assert answered == [400], (data, answered)
    assert statuses(pair.say(pair.suture, GET)) == [200]
    assert [one.target for one in pair.read()] == ["/"]
    wait_until(lambda: any(status == 200 for status, _ in pair.logged()), 20, what="nginx' access log")
    assert all(status in (400, 499) and line == "POST /p HTTP/1.1" or (status, line) == (200, "GET / HTTP/1.1")
               for status, line in pair.logged())


def mutated(rng):
    """Of one of the rows: a few bytes put in, taken away, changed or said twice."""
    data = bytearray(rng.choice([data for _, data, _ in PASSED if len(data) < 1500]))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(5)
        if what == 0:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"%", b",", b";", b"0", b"1", b"\xff", b"\x0b",
                                      b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"0\r\n\r\n",
                                      b"GET /in HTTP/1.1\r\nHost: a\r\n\r\n", b" HTTP/1.1", b"\r\n ", b"\r\nX-A: 1"])
        elif what == 1:
            del data[at:at + rng.randint(1, 4)]
        elif what == 2 and at < len(data):
            data[at] = rng.choice(b"\r\n \t:,;0129afAFxX/%?#\0\x7f\x80")
        elif what == 3:
            end = data.find(b"\r\n", at)
            begin = data.rfind(b"\r\n", 0, at) + 2
            if end > begin >= 2:
                data[end + 2:end + 2] = data[begin:end + 2]
        elif at < len(data):
            data[at] ^= 0x20
    return bytes(data)


def test_mutated_requests_are_refused_or_read_alike(pair):
    """Suture may refuse more than nginx, and nginx more than Suture; what both take is the same."""
    rng = random.Random(2026)
    began, both_read, stricter, looser = time.monotonic(), 0, 0, 0
    for number in range(MUTATIONS):
        data = mutated(rng)
        direct, through, answered = both(pair, data)
        direct = [dataclasses.replace(one, host=one.host or pair.suture[0]) for one in direct]  # HTTP/1.0 without one
        where = f"mutation {number}: {data!r}\nnginx alone:    {direct}\nthrough Suture: {through}\nanswers: {answered}"
        common = min(len(direct), len(through))
        assert through[:common] == direct[:common], where
        # Every message that nginx got through Suture was answered, in order, and nothing else was: no message came from nowhere.
        assert answered[:len(through)] == [200] * len(through) and answered.count(200) == len(through), where
        both_read += common
        stricter += len(direct) > common
        looser += len(through) > common
    assert both_read > MUTATIONS / 4 and stricter > 0
    print(f"\nnginx: {MUTATIONS} mutated requests in {time.monotonic() - began:.1f} s; {both_read} messages read alike; Suture refuses "
          f"where nginx reads on: {stricter}, nginx refuses what Suture writes anew: {looser}")
