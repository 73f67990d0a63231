"""The demo's power cut: sessions at the PoP that will lose it, and what the survivors' logs say of how each was healed.

What cannot be healed is not here (a WebSocket whose application takes no part, ssh, an upload: docs/healing.md says why),
with one exception that shows what the client gets instead of a second execution: an order (POST) whose answer had not begun
ends with a clean 503.
"""
import datetime
import json
import pathlib
import re
import time
import uuid
from dataclasses import dataclass

from . import apps, demo_streams, files, procs, suture
from .demo_sessions import Broken, FileDownload, KeepAlive, _Http
from .errors import LabError
from .system import wait_until

PORT, APP_PORT = 9000, 9001


class Trickle(_Http):
    """Whole files through a window of a few segments: at any moment most of the file has not left the server."""
    kind = "slow reader"
    receive_buffer = 16384
    pace = 0.05

    def talk(self):
        content = b"".join(files.parts(files.SIZES["1m"]))
        with self.connect(80) as connection, connection.makefile("rwb", buffering=8192) as stream:
            last = False
            while not last:
                last = self.finish.is_set()
                status, headers = self.request(stream, "/1m")
                if status != 200:
                    raise Broken(f"status {status}")
                self._take(stream, content, int(headers["content-length"]))

    def _take(self, stream, content, size):
        at, self._last = 0, time.monotonic()
        while at < size:
            data = stream.read(min(8192, size - at))
            if not data:
                raise Broken(f"ended after {at} bytes of {size}")
            self.heard()
            self.started.set()
            if data != content[at:at + len(data)]:
                self.wrong += sum(a != b for a, b in zip(data, content[at:at + len(data)]))
            at += len(data)
            self.bytes += len(data)
            if not self.finish.is_set():
                time.sleep(self.pace)
                self._last = time.monotonic()


class _Unanswered(_Http):
    """A request that the PoP it reached never answers; its stall begins with the power cut."""
    hold = ""       # the PoP
    cut_at = None   # time.monotonic()

    def ask(self, method, path, extra=""):
        with self.connect(PORT) as connection, connection.makefile("rwb") as stream:
            self.pop = self.hold
            self.started.set()
            status, headers = self.request(stream, f"{path}hold={self.hold}", extra, method)
            self.stall = time.monotonic() - self.cut_at if self.cut_at else 0.0
            body = stream.read(int(headers["content-length"]))
            self.bytes = len(body)
            rest = b"" if headers.get("connection") != "close" else stream.read(1)
            return status, headers, body, rest


class Report(_Unanswered):
    kind = "unanswered GET"

    def talk(self):
        status, _, body, _ = self.ask("GET", "/report?")
        if status != 200:
            raise Broken(f"status {status}")
        if json.loads(body)["pop"] == self.hold:
            raise Broken("answered by the PoP that had no power")


class Order(_Unanswered):
    kind = "unanswered POST"
    orders = None  # file in which the applications note what they execute

    def talk(self):
        name = uuid.uuid4().hex
        status, headers, _, rest = self.ask("POST", f"/order?id={name}&", "Content-Length: 0\r\n")
        if status != 503 or "retry-after" not in headers or headers.get("connection") != "close" or rest:
            raise Broken(f"status {status}, {headers}: not a clean 503")
        times = pathlib.Path(self.orders).read_text().split().count(name)
        if times != 1:
            raise Broken(f"executed {times} times")
        self.clean_end = "503, Retry-After"


KINDS = [FileDownload, Trickle, KeepAlive, *demo_streams.KINDS, Report, Order]


def start_applications(state, topo):
    orders = state.host_dir("demo") / "orders"
    orders.write_text("")
    for pop in topo.pops():
        if procs.pid_of(state, pop.name, "demo-app"):
            continue
        procs.spawn(state, pop.name, "demo-app",
                    ["/usr/bin/python3", state.engine.docker_dir / "labkit" / "demo_app.py", pop.name, APP_PORT, orders])
    for pop in topo.pops():
        if not wait_until(lambda name=pop.name: apps.listening(state, name, APP_PORT), 10, 0.05):
            raise LabError(f"{pop.name}: the demo's application does not listen", state.dir / pop.name / "demo-app.log")
    return orders


def passed_on(orders, sessions):
    """Whether the victim's application has every order: from now on nobody else may execute it."""
    return len(pathlib.Path(orders).read_text().split()) >= sum(isinstance(one, Order) for one in sessions)


def make(state, client, seconds, finish, victim, orders):
    made = [kind(state, client, family, seconds, finish) for family in (4, 6) for kind in KINDS]
    for session in made:
        session.note, session.hold, session.orders = " *", victim, orders
    return made


# --- what the logs say -------------------------------------------------------------------------------------------------

@dataclass
class Heal:
    """One line `healed` of a survivor's log."""
    pop: str
    when: float         # wall clock, seconds
    rung: str
    reason: str
    resumed_ms: int     # from the claim's first packet


def _lines(state, pop, event):
    """(wall clock, fields) of each line of that event."""
    path = suture.log_path(state, pop)
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        words = line.split(" ", 3)
        if len(words) == 4 and words[2] == event:
            fields = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', words[3]))
            when = datetime.datetime.strptime(words[0], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
            yield when, {key: value.strip('"') for key, value in fields.items()}


def heals(state, pops, since):
    """{(family, client port, VIP port): the newest Heal}; `since` as the logs, wall clock."""
    found = {}
    for pop in pops:
        for when, fields in _lines(state, pop, "healed"):
            client, _, vip = fields["flow"].partition(">")
            if when < since:
                continue
            key = 6 if client.startswith("[") else 4, int(client.rpartition(":")[2]), int(vip.rpartition(":")[2])
            heal = Heal(pop, when, fields["rung"], fields["reason"], int(fields["resumed_ms"]))
            if key not in found or found[key].when < heal.when:
                found[key] = heal
    return found


def noticed(state, pops, victim_id, since):
    """{pop: wall clock} at which it took the victim for dead."""
    found = {}
    for pop in pops:
        times = [when for when, fields in _lines(state, pop, "peer_down") if fields.get("peer") == str(victim_id) and when >= since]
        if times:
            found[pop] = min(times)
    return found


def _spread(values):
    values = sorted(values)
    return f"{values[len(values) // 2] * 1000:.0f} ms (median), {values[-1] * 1000:.0f} ms (longest)"


def tell(seen, found, cut_at):
    """What the cut cost, in lines: detection, heals by rung, and the time until each session had its next byte on the way."""
    if not found:
        return ["no session was healed"]
    rungs = {}
    for heal in found.values():
        rungs[heal.rung] = rungs.get(heal.rung, 0) + 1
    lines = ["healed by rung: " + ", ".join(f"{rung} {count}" for rung, count in sorted(rungs.items()))
             + "   at " + ", ".join(sorted({heal.pop for heal in found.values()}))]
    if seen:
        lines.append("detected " + ", ".join(f"by {pop} {(when - cut_at) * 1000:.0f} ms" for pop, when in sorted(seen.items()))
                     + " after the cut")
        lines.append("detection -> resumed: " + _spread([max(0.0, one.when - min(seen.values())) for one in found.values()]))
    lines.append("cut -> resumed:       " + _spread([one.when - cut_at for one in found.values()]))
    return lines

