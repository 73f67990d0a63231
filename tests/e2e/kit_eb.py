"""Clients and tools of the trouble scenarios (failures, statesync, floods): beside lab.py, which knows the lab itself."""
import hashlib
import json
import re
import subprocess
import threading
import time

from labkit import procs, topology

from lab import VIP, wait_until

PATIENCE = 40  # seconds: the sanitizer build on two loaded cores


class Download:
    """A curl of SECONDS, paced by the application (curl's own --limit-rate swallows a megabyte before it begins to wait)."""

    def __init__(self, lab, client, family, seconds=8, rate=100000):
        self.wanted = seconds * rate
        self.path = f"/slow?bytes={self.wanted}&rate={rate}"
        self._process = lab.popen(client, ["curl", "-sSgN", "--max-time", "90", lab.url(family, self.path)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._digest, self.size, self.stall = hashlib.sha256(), 0, 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        last = None
        while part := self._process.stdout.read1(65536):
            now = time.monotonic()
            self.stall = max(self.stall, now - last) if last else 0.0
            last = now
            self._digest.update(part)
            self.size += len(part)

    def wait_under_way(self, more=1):
        target = self.size + more
        wait_until(lambda: self.size >= target, PATIENCE, what=f"{self.path}: more bytes than {target}")
        return self

    def running(self):
        return self._process.poll() is None

    def check(self, may_be_reset=False):
        """Waits for the end; exit status and every byte. False: it was reset, as it may be."""
        self._reader.join(100)
        said = self._process.stderr.read().decode()
        status = self._process.wait(10)
        reset = may_be_reset and status == 56 and "reset by peer" in said
        assert reset or status == 0, f"curl {self.path}: {said}"
        size = self.size if reset else self.wanted
        pattern = (bytes(i * 131 % 251 for i in range(251)) * (self.wanted // 251 + 1))[:size]
        assert (self.size, self._digest.hexdigest()) == (size, hashlib.sha256(pattern).hexdigest()), f"{self.path}: wrong bytes"
        return not reset


class KeepAlive:
    """One HTTP connection that asks again and again."""

    def __init__(self, lab, client, family, port=80):
        self.socket = lab.connect(client, family, port, PATIENCE)
        self._file = self.socket.makefile("rb")
        self.port = self.socket.getsockname()[1]
        self.closes = False

    def ask(self, path="/who"):
        """(status, PoP that answered, body)"""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: vip\r\n\r\n".encode())
        first = self._file.readline()
        assert first, "the connection was closed"
        headers = {}
        while (line := self._file.readline().strip()):
            key, _, value = line.decode().partition(":")
            headers[key.lower()] = value.strip()
        self.closes = headers.get("connection", "").lower() == "close"
        body = self._file.read(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers.get("x-app-pop"), body

    def close(self):
        self._file.close()
        self.socket.close()


def who(lab, client, family, seconds=3):
    done = lab.curl(client, "--max-time", seconds, lab.url(family, "/who"))
    return json.loads(done.stdout)["pop"] if done.returncode == 0 else None


def wait_who(lab, client, family, pop):
    wait_until(lambda: who(lab, client, family) == pop, PATIENCE, what=f"{client} served by {pop} (IPv{family})")


class RouteMonitor:
    """`ip monitor route` in a core router: when did the route to a VIP change its way, or go?"""

    def __init__(self, lab, host):
        self._process = lab.popen(host, ["ip", "-o", "monitor", "route"], stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = []
        threading.Thread(target=self._read, daemon=True).start()
        # What the monitor says of a route of our own proves that it listens.
        probe = "192.0.2.77"

        def listens():
            lab.inside(host, ["ip", "route", "replace", "blackhole", probe])
            lab.inside(host, ["ip", "route", "del", "blackhole", probe])
            return any(probe in line for _, line in self.lines)
        wait_until(listens, PATIENCE, 0.05, what="ip monitor listens")

    def _read(self):
        for line in self._process.stdout:
            self.lines.append((time.monotonic(), line.strip()))

    def left(self, family, device):
        """When the VIP's route by `device` was withdrawn: deleted, or replaced by another way."""
        for when, line in list(self.lines):
            if re.search(rf"(^|\s){re.escape(VIP[family])}\s", line) and (line.startswith("Deleted") or f"dev {device}" not in line):
                return when
        return None


def suture_pid(lab, pop):
    return procs.pid_of(lab.state, pop, "suture")


def rung(lab, pop, name):
    return lab.metric(pop, "suture_steer_packets_total", rung=name)


def sessions(lab, pop):
    """{(client, vip): (owner, incarnation)} of a PoP's directory."""
    status, body = lab.admin(pop, "/sessions?limit=2000")
    assert status == 200, body
    return {(one["client"], one["vip"]): (one["owner"], one["incarnation"]) for one in json.loads(body)["sessions"]}


def knows(lab, pop, port):
    """Does the PoP's directory hold a session of that client port?"""
    return any(client.endswith(f":{port}") for client, _ in sessions(lab, pop))


def send_packets(lab, host, program):
    """Runs scapy statements in a host; `ip4(...)`, `ip6(...)` make packets from the host's address to the VIP."""
    one = lab.state.topology().hosts[host]
    text = f"""
import random, sys
from scapy.all import *
conf.verb = 0
def ip(family): return IP(src="{one.addr4}", dst="{topology.VIP4}") if family == 4 else IPv6(src="{one.addr6}", dst="{topology.VIP6}")
{program}
"""
    done = lab.inside(host, ["/usr/bin/python3", "-c", text], timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def silent_flow(capture, family, port):
    """The captured flow of that client port: no RST and no FIN from the VIP."""
    flow = capture.flows().get((family, port, 80))
    assert flow is not None and flow.packets > 0, f"nothing captured of port {port}"
    assert not flow.resets and not flow.vip_fin, f"RST {flow.resets}, FIN {flow.vip_fin} from the VIP to port {port}"
    return flow
