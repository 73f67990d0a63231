"""What scenario tests need of the lab: verbs through the command line, clients in a host, counters of a PoP, captures.

    lab.ok("switch", "client1", "pop3")                 a verb that must succeed; its output
    lab.run("kill", "nobody")                           a verb whose exit status is looked at
    lab.popen("client1", ["curl", ...], stdout=PIPE)    a process in a host, ended with the test
    lab.connect("client1", 4, 80)                       a TCP connection from a host to the VIP
    lab.stats("pop1"), lab.metric("pop1", "suture_connections_total", mode="http")
    with lab.capture("client1", "tcp") as capture: ...  then capture.flows()
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "docker"))

from labkit import demo_capture, suture, topology  # noqa: E402
from labkit.state import State  # noqa: E402

LAB = SOURCE / "docker" / "lab"
VIP = {4: topology.VIP4, 6: topology.VIP6}


def wait_until(condition, timeout=10, interval=0.02, what="the condition"):
    """Polls until condition() is true; its value. Fails the test when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not become true within {timeout} s (last: {value!r})"
        time.sleep(interval)


class Lab:
    def __init__(self, name):
        self.name = name
        self.state = State(name)
        self.environment = {**os.environ, "SUTURE_LAB": name}
        self._processes = []

    # verbs
    def run(self, *words, timeout=180, **more):
        return subprocess.run([str(LAB), *map(str, words)], env=self.environment, capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL, **more)

    def ok(self, *words, **more):
        done = self.run(*words, **more)
        assert done.returncode == 0, f"lab {' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def routed_to(self, client, family=4):
        one = next(one for one in self.status()["clients"] if one["name"] == client)
        return one["routed_to" if family == 4 else "routed_to6"]

    def pop(self, name):
        return next(one for one in self.status()["pops"] if one["name"] == name)

    # clients
    @staticmethod
    def url(family, path="/", port=80):
        host = VIP[family] if family == 4 else f"[{VIP[family]}]"
        return f"http://{host}{'' if port == 80 else f':{port}'}{path}"

    def inside(self, host, argv, **more):
        """Runs argv in a host to its end."""
        more = {"capture_output": True, "text": True, "timeout": 120, "stdin": subprocess.DEVNULL, **more}
        return subprocess.run(self.state.engine.enter(host) + list(map(str, argv)), **more)

    def popen(self, host, argv, **more):
        """Starts argv in a host; what still runs when the test ends is killed."""
        process = subprocess.Popen(self.state.engine.enter(host) + list(map(str, argv)), **{"stdin": subprocess.DEVNULL, **more})
        self._processes.append(process)
        return process

    def curl(self, host, *words, **more):
        return self.inside(host, ["curl", "-sS", "-g", *words], **more)

    def connect(self, host, family, port, timeout=20):
        return self.connect_to(host, VIP[family], port, timeout)

    def connect_to(self, host, address, port, timeout=20):
        connection = suture.socket_in(self.state.engine.network(host), socket.AF_INET6 if ":" in address else socket.AF_INET)
        connection.settimeout(timeout)
        connection.connect((address, port))
        return connection

    def end_connections(self, host):
        """Every TCP connection from there to the VIP, of this process, too: what a test forgot to close would be healed with
        the next one's."""
        for vip in VIP.values():
            self.inside(host, ["ss", "-K", "-a", "-t", "dst", vip if ":" not in vip else f"[{vip}]"])

    def ssh_words(self, family):
        return ["ssh", "-F", str(self.state.dir / "ssh" / "config"), f"root@{VIP[family]}"]

    def sysctl(self, host, **values):
        """sysctl(host, net_ipv4_tcp_timestamps=0): underscores of the path's first three parts are dots."""
        self.state.engine.sysctl(host, {key.replace("_", ".", 2): value for key, value in values.items()})

    def end_processes(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            with contextlib.suppress(ValueError):
                process.communicate()
        self._processes.clear()

    # a PoP from inside
    def admin(self, pop, path, method="GET"):
        return suture.admin(self.state, pop, method, path)

    def stats(self, pop):
        status, body = self.admin(pop, "/stats")
        assert status == 200, f"{pop} /stats: {status} {body}"
        return json.loads(body)

    def metrics(self, pop):
        """{(name, frozenset of (label, value)): number}"""
        status, body = self.admin(pop, "/metrics")
        assert status == 200, f"{pop} /metrics: {status} {body}"
        found = {}
        for name, labels, value in re.findall(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", body, re.M):
            found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
        return found

    def metric(self, pop, name, **labels):
        """The sum over all series of that name that have these labels; 0 if there is none."""
        wanted = set(labels.items())
        return sum(value for (one, has), value in self.metrics(pop).items() if one == name and wanted <= has)

    def log(self, pop):
        return suture.log_path(self.state, pop).read_text(errors="replace")

    @contextlib.contextmanager
    def capture(self, host, *expression):
        one = Capture(self, host, expression)
        try:
            yield one
        except BaseException:
            one.abandon()
            raise
        one.stop()


class Capture:
    """`lab capture` of a host's access link, into a file of its own. Readable once the with block is left."""
    _count = 0

    def __init__(self, lab, host, expression):
        Capture._count += 1
        self.path = lab.state.host_dir("captures") / f"{host}-{Capture._count}.pcap"
        self._process = subprocess.Popen([str(LAB), "capture", host, str(self.path), *expression], env=lab.environment,
                                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = b""
        while b"listening on" not in said:
            line = self._process.stderr.readline()
            assert line, f"tcpdump does not listen: {said.decode()}"
            said += line

    def stop(self):
        if self._process.poll() is None:
            # An interrupted tcpdump drops what it has not read yet: only once its file has stopped growing.
            sizes = [-1]
            wait_until(lambda: sizes.append(self.path.stat().st_size) or sizes[-2] == sizes[-1], 5, 0.2, "the capture's end")
            self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=20)
        dropped = re.search(rb"(\d+) packets? dropped by kernel", said)
        self.dropped = int(dropped[1]) if dropped else 0

    def abandon(self):
        """The test has failed: what was captured does not matter, and packets may go on coming."""
        self._process.kill()
        self._process.communicate()

    def flows(self):
        """{(family, client port, VIP port): demo_capture.Flow}, for a capture at a client."""
        return demo_capture.read(self.path)

    def resets(self):
        return sum(len(flow.resets) for flow in self.flows().values())
