"""Sessions of every kind at once, as clients see them and as a capture at the client sees them.

    with sessions(lab) as going:            every kind, IPv4 and IPv6, from client1; all of them under way
        lab.ok("switch", "client1", "pop2")
        going.heard_again()                 every session has made progress since
    going.check("switch")                   ended well, nothing wrong, no RST and no FIN of the VIP's own; prints the stalls

An echo application of our own answers VIP:9100 at every PoP (`echo_apps`).
"""
import contextlib
import os
import subprocess
import threading
import time

from lab import wait_until
from labkit import apps, demo_capture, demo_sessions, netns, procs, suture

ECHO_PORT = 9101
ECHO_APP = """
import asyncio
async def serve(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 9101, backlog=1024)
    await server.serve_forever()
asyncio.run(main())
"""


class Echo(demo_sessions.Session):
    """Random bytes through VIP:9100 and back; half-closes in the end and expects the other half to follow."""
    kind = "raw tcp echo"

    def talk(self):
        with self.connect(9100) as connection:
            while True:
                sent = os.urandom(4000)
                self._last = time.monotonic()
                connection.sendall(sent)
                self._expect(connection, sent)
                self.heard()
                self.started.set()
                if self.finish.wait(0.02):
                    break
            connection.shutdown(1)
            if connection.recv(1):
                self.wrong += 1

    def _expect(self, connection, sent):
        got = b""
        while len(got) < len(sent):
            data = connection.recv(len(sent) - len(got))
            if not data:
                raise demo_sessions.Broken("the connection was closed")
            got += data
        self.bytes += len(got)
        self.wrong += sum(a != b for a, b in zip(got, sent)) if got != sent else 0


ALL_KINDS = [demo_sessions.FileDownload, demo_sessions.SlowDownload, demo_sessions.Upload, demo_sessions.Ssh,
             demo_sessions.WebSocket, demo_sessions.KeepAlive, Echo]


def echo_apps(lab):
    """One per PoP, as a child of the lab's namespace; `lab down` ends them."""
    for pop in lab.status()["pops"]:
        if not apps.listening(lab.state, pop["name"], ECHO_PORT):
            procs.spawn(lab.state, pop["name"], "echo", ["/usr/bin/python3", "-c", ECHO_APP])
    for pop in lab.status()["pops"]:
        wait_until(lambda name=pop["name"]: apps.listening(lab.state, name, ECHO_PORT), 30, what="the echo application")


def forwarded(lab, pop):
    """TCP packets of VIP flows that this PoP has handed to their owners, in the kernel or from user space."""
    metrics = lab.metrics(pop)
    return sum(value for (name, labels), value in metrics.items()
               if name == "suture_steer_packets_total" and dict(labels)["rung"] in ("forward_hint", "forward_map"))


class Going:
    """Sessions under way, and the capture at their client."""

    def __init__(self, lab, client, seconds, kinds, end_seconds):
        self.lab, self.client, self.end_seconds = lab, client, end_seconds
        self.finish = threading.Event()
        self.sessions = [kind(lab.state, client, family, seconds, self.finish) for family in (4, 6) for kind in kinds]
        self.flows, self.end_of_scenes = {}, None

    def open(self):
        for session in self.sessions:
            session.start()
        for session in self.sessions:
            wait_until(session.started.is_set, 30, what=f"{session.label}: the first answer")
            assert session.error is None, f"{session.label}: {session.error}"

    def heard_again(self, timeout=30):
        """Every session that speaks by itself has got or sent more bytes than when this was called."""
        before = {id(one): one.bytes for one in self.sessions}
        for one in self.sessions:
            if isinstance(one, demo_sessions.KeepAlive):
                continue
            wait_until(lambda one=one: one.bytes > before[id(one)] or one.ended, timeout, what=f"{one.label} going on")

    def close(self):
        self.end_of_scenes = time.time()
        self.finish.set()
        deadline = time.monotonic() + self.end_seconds
        for session in self.sessions:
            session.join(max(0.0, deadline - time.monotonic()))
            if session.is_alive():
                session.error = session.error or f"no end within {self.end_seconds} s"

    def abort(self):
        self.finish.set()
        for session in self.sessions:
            session.abort()

    def check(self, title):
        lost = [f"{one.label} (by {one.pop}): {one.error or f'{one.wrong} wrong bytes'}" for one in self.sessions if not one.good]
        resets = {key: len(flow.resets) for key, flow in self.flows.items() if flow.resets}
        fins = demo_capture.unexpected_fins(self.flows, self.end_of_scenes)
        assert not lost, "\n".join(lost)
        assert not resets, f"RST from the VIP: {resets}"
        assert fins == 0, f"{fins} FIN from the VIP that nobody asked for"
        assert len(self.flows) == len(self.sessions), f"{len(self.sessions)} sessions made {len(self.flows)} connections: {sorted(self.flows)}"
        stalls = {}
        for one in self.sessions:
            if one.kind == "upload":
                one.stall = max([one.stall] + [flow.ack_wait for (family, port, _), flow in self.flows.items()
                                               if (family, port) == (one.family, one.port)])
            stalls[one.kind] = max(stalls.get(one.kind, 0), one.stall)
        shown = ", ".join(f"{kind} {stall * 1000:.0f} ms" for kind, stall in stalls.items() if stall)
        print(f"\n{title}: {len(self.sessions)} of {len(self.sessions)} sessions lived; longest stalls: {shown}")


@contextlib.contextmanager
def sessions(lab, seconds=6, kinds=None, client="client1", end_seconds=60):
    going = Going(lab, client, seconds, kinds or ALL_KINDS, end_seconds)
    with lab.capture(client, "tcp") as capture:
        try:
            going.open()
            yield going
            going.close()
        finally:
            going.abort()
    going.flows = capture.flows()


class OwnSuture:
    """A PoP's suture as a child of this process, so that its exit status can be had. `lab stop` and `lab start` know it."""

    def __init__(self, lab, pop):
        self._state, self._pop = lab.state, pop
        lab.ok("stop", pop, "--wait")
        program = lab.state.load()["suture"]
        with open(suture.log_path(lab.state, pop), "ab") as out:
            self.process = subprocess.Popen(
                netns.enter(lab.state, pop) + [program, "run", "-c", str(suture.config_path(lab.state, pop))],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        (lab.state.dir / pop / "suture.pid").write_text(f"{self.process.pid} {procs.start_time(self.process.pid) or 0}")
        suture.wait_ready(lab.state, pop)
        wait_until(lambda: lab.pop(pop)["announcing"], 30, what=f"{pop} announcing")

    def exits_cleanly(self, timeout):
        """It ends within `timeout` seconds, with status 0; if not, its log is the message."""
        status = self.process.wait(timeout)
        assert status == 0, f"exit status {status}; the end of its log:\n{suture.log_path(self._state, self._pop).read_text(errors='replace')[-8000:]}"
