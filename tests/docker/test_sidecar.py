"""docker/sidecar: an ordinary application behind two sutures that are told by environment variables alone. It answers, and its clients
live through a drain, a power cut and a new application container. Then what a container says that was told nonsense."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest
from conftest import SOURCE, docker
from kit_ea import Going
from lab import Lab, wait_until
from labkit import demo_capture, demo_sessions, demo_streams

FILE = SOURCE / "docker" / "sidecar" / "compose.yml"
PROJECT = f"sidecar{os.getpid()}"
SERVICES = ["pop1-suture", "pop1-app", "pop1-router", "pop2-suture", "pop2-app", "pop2-router", "edge", "client"]
FAMILIES = pytest.mark.parametrize("family", [4, 6])
READY_SECONDS = 60


# --- the example as labkit's clients see a lab

class Engine:
    """Hosts are services; clients and captures run in their networks, with this machine's programs."""

    def __init__(self, example):
        self._example = example

    def network(self, service):
        pid = self._example.inspect(service, "{{.State.Pid}}")
        assert pid != "0", f"{service} does not run"
        return f"/proc/{pid}/ns/net"

    def enter(self, service):
        return ["nsenter", f"--net={self.network(service)}", "--"]


class Here:
    def __init__(self, example, directory):
        self.engine, self.dir = Engine(example), pathlib.Path(directory)

    def host_dir(self, name):
        path = self.dir / name
        path.mkdir(exist_ok=True)
        return path


class Example(Lab):
    """docker/sidecar/compose.yml as a project of its own."""

    def __init__(self, project, directory):
        super().__init__(project)
        self.project, self.state = project, Here(self, directory)
        self.environment = {**os.environ, **capabilities_of_this_engine()}

    def compose(self, *words, timeout=180):
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        done = subprocess.run([*program, "-p", self.project, "-f", FILE, *words], capture_output=True, text=True, env=self.environment,
                              stdin=subprocess.DEVNULL, timeout=timeout)
        assert done.returncode == 0, f"compose {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def container(self, service):
        return docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}", "--filter",
                      f"label=com.docker.compose.service={service}").stdout.strip()

    def inspect(self, service, words):
        return docker("inspect", "-f", words, self.container(service)).stdout.strip()

    def who(self, family):
        """(PoP of the application, PoP of suture) of a new connection; None if there is no answer."""
        done = self.curl("client", "-i", "--max-time", "5", self.url(family, "/who"))
        if done.returncode != 0 or " 200 " not in done.stdout.splitlines()[0]:
            return None
        head, body = done.stdout.split("\n\n", 1)
        return json.loads(body)["pop"], next(line.split()[1] for line in head.splitlines() if line.startswith("X-Served-By:"))

    def up(self):
        self.compose("up", "-d", "--no-build")
        wait_until(lambda: all(self.who(family) == ("pop1", "pop1") for family in (4, 6)), READY_SECONDS, 0.2, "pop1 answers")
        for one, other in ((1, 2), (2, 1)):
            wait_until(lambda one=one, other=other: self.metric(f"pop{one}-suture", "suture_peer_caught_up", peer=str(other)) == 1,
                       READY_SECONDS, 0.2, "the PoPs know each other")

    @contextlib.contextmanager
    def capture(self, host, _expression):
        one = Capture(self.state, host, "eth0")
        try:
            yield one
        finally:
            one.end()


class Capture(demo_capture.Capture):
    def end(self):
        sizes = [-1]  # tcpdump drops what it has not read yet: only once its file has stopped growing
        wait_until(lambda: sizes.append(self.path.stat().st_size) or sizes[-2] == sizes[-1], 5, 0.2, "the capture's end")
        self.stop()

    def flows(self):
        return demo_capture.read(self.path)


def capabilities_of_this_engine():
    """docker/sidecar/compose.yml says why."""
    known = docker("create", "--cap-add", "BPF", "--cap-add", "PERFMON", "suture")
    if known.returncode:
        return {}
    docker("rm", known.stdout.strip())
    return {"SUTURE_CAP_BPF": "BPF", "SUTURE_CAP_PERFMON": "PERFMON"}


# --- its clients, beside labkit's

class Requests(demo_sessions._Http):
    """One connection, a request every tenth of a second."""
    kind = "keep-alive requests"

    def talk(self):
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            while not self.finish.is_set():
                self._last = time.monotonic()
                status, headers = self.request(stream, "/who")
                body = stream.read(int(headers["content-length"]))
                self.heard()
                if status != 200:
                    raise demo_sessions.Broken(f"status {status}")
                self.pop = headers["x-served-by"]
                self.bytes += len(body)
                if body != f'{{"pop": "{self.pop}"}}\n'.encode():
                    self.wrong += len(body)
                self.started.set()
                self.finish.wait(0.1)


class Count(demo_sessions.WebSocket):
    """Texts "1", "2", "3" ... that any PoP's application can go on with; ours have no effect there."""
    kind = "websocket that goes on elsewhere"

    def talk(self):
        with self.connect(80) as connection, connection.makefile("rwb") as stream:
            status, _ = self.request(stream, f"/count?interval={int(self.interval * 1000)}",
                                     "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
            if status != 101:
                raise demo_sessions.Broken(f"status {status}")
            count, closing = 0, False
            while True:
                opcode, data = self._frame(stream)
                if opcode == 8:
                    if not closing:
                        raise demo_sessions.Broken(f"closed by the server: {data!r}")
                    return
                self.heard(self.interval)
                count += 1
                self.bytes += len(data)
                self.started.set()
                if data != str(count).encode():
                    self.wrong += len(data)
                    raise demo_sessions.Broken(f"{data!r} after {count - 1}")
                if not closing and count % 10 == 0:
                    self._send(stream, 1, b"word %d" % count)
                if not closing and self.finish.is_set():
                    closing = True
                    self._send(stream, 8, b"\x03\xe8")


@contextlib.contextmanager
def sessions(example, seconds, websocket):
    kinds = [demo_sessions.SlowDownload, demo_streams.EventStream, websocket, Requests]
    going = Going(example, "client", seconds, kinds, 60)
    with example.capture("client", "tcp") as capture:
        try:
            going.open()
            yield going
            going.close()
        finally:
            going.abort()
    going.flows = capture.flows()


# --- the file

def test_config_is_clean():
    commands = [["docker-compose"]] if shutil.which("docker-compose") else []
    if subprocess.run(["docker", "compose", "version"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
        commands.append(["docker", "compose"])
    assert commands, "docker-compose or the docker client's compose plugin is wanted"
    for command in commands:
        done = subprocess.run([*command, "-f", FILE, "config"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        assert "privileged" not in done.stdout
        for service in SERVICES:
            assert f"\n  {service}:\n" in done.stdout


# --- the example at work

@pytest.fixture(scope="module")
def running(images, tmp_path_factory):
    example = Example(PROJECT, tmp_path_factory.mktemp("sidecar"))
    try:
        yield example
    finally:
        example.end_processes()
        example.compose("down", "-v", "--timeout", "1")


@pytest.fixture
def example(running):
    """Everything up, new clients at pop1."""
    running.up()
    return running


@FAMILIES
def test_the_application_answers(example, family):
    assert example.who(family) == ("pop1", "pop1")
    example.compose("exec", "-T", "edge", "/opt/suture/docker/inside", "prefer", "pop2")
    wait_until(lambda: example.who(family) == ("pop2", "pop2"), 10, what="a new connection goes to pop2")
    example.compose("exec", "-T", "edge", "/opt/suture/docker/inside", "prefer", "pop1")
    wait_until(lambda: example.who(family) == ("pop1", "pop1"), 10, what="a new connection goes to pop1")


def test_health_is_told_to_docker(example):
    for service in ("pop1-suture", "pop2-suture"):
        wait_until(lambda service=service: example.inspect(service, "{{.State.Health.Status}}") == "healthy", 40, 0.5, f"{service} healthy")


def test_a_new_application_container_takes_no_network_away(example):
    """Nor does it end a connection that asks for nothing at that moment."""
    def network(service):
        return os.readlink(example.state.engine.network(service))
    before, container = network("pop1-suture"), example.container("pop1-app")
    with example.connect("client", 4, 80) as connection:
        def ask():
            connection.sendall(b"GET /who HTTP/1.1\r\nHost: example\r\n\r\n")
            answer = connection.recv(4096)
            assert answer, "the connection was closed"
            return answer.split(b" ", 2)[1] == b"200" and b'{"pop": "pop1"}' in answer
        assert ask()
        example.compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", "pop1-app")
        assert example.container("pop1-app") != container
        assert network("pop1-suture") == network("pop1-app") == before
        wait_until(ask, 20, 0.2, "the new application's answer on the old connection")
    wait_until(lambda: example.admin("pop1-suture", "/readyz")[0] == 200, 20, 0.1, "pop1 ready")


def test_sessions_live_through_docker_stop(example):
    with sessions(example, 12, demo_sessions.WebSocket) as going:
        stopping = subprocess.Popen(["docker", "stop", "-t", "70", example.container("pop1-suture")], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL)
        wait_until(lambda: all(example.who(family) == ("pop2", "pop2") for family in (4, 6)), 20, 0.1, "new connections go to pop2")
        going.heard_again()
        going.heard_again()
        assert example.inspect("pop1-suture", "{{.State.Running}}") == "true", "it ended before its sessions had"
    assert stopping.wait(80) == 0
    assert example.inspect("pop1-suture", "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    going.flows = {key: flow for key, flow in going.flows.items() if key[:2] in {(one.family, one.port) for one in going.sessions}}
    going.check("sidecar: docker stop")
    bring_back(example, "pop1")


def test_sessions_live_through_a_power_cut(example):
    with sessions(example, 8, Count) as going:
        going.heard_again()
        # suture first: a PoP's parts lose their power at once, and `docker kill` of several takes one after the other.
        assert docker("kill", example.container("pop1-suture")).returncode == 0
        assert docker("kill", example.container("pop1-app"), example.container("pop1-router")).returncode == 0
        for _ in range(2):
            going.heard_again()
        assert all(example.who(family) == ("pop2", "pop2") for family in (4, 6))
    going.flows = {key: flow for key, flow in going.flows.items() if key[:2] in {(one.family, one.port) for one in going.sessions}}
    going.check("sidecar: power cut")
    assert example.metric("pop2-suture", "suture_heals_total") == len(going.sessions)
    assert example.metric("pop2-suture", "suture_heal_failures_total") == 0


def bring_back(example, pop):
    """As the README says: suture's end took the network of the two others."""
    example.compose("stop", f"{pop}-app", f"{pop}-router")
    example.up()


def test_logs_are_clean(example):
    for service in SERVICES + ["pki"]:
        done = docker("logs", example.container(service))
        bad = [line for line in (done.stdout + done.stderr).splitlines()
               if any(word in line for word in (" error ", " critical ", "<ERR>", "<FATAL>", "<BUG>", "Traceback", "rror:"))]
        assert not bad, f"{service}: " + "\n".join(bad)


def test_zz_down_leaves_nothing(running):
    """Last of the example's: it goes."""
    running.compose("down", "-v", "--timeout", "1")
    of_project = ["--filter", f"label=com.docker.compose.project={PROJECT}", "-q"]
    for words in (["ps", "-a"], ["network", "ls"], ["volume", "ls"]):
        assert docker(*words, *of_project).stdout == ""
