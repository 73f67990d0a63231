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
import yaml
from conftest import SOURCE, docker
from kit_ea import Going
from lab import Lab, wait_until
from labkit import demo_capture, demo_sessions, demo_streams

FILE = SOURCE / "docker" / "sidecar" / "compose.yml"
MANIFEST = FILE.with_name("kubernetes.yaml")
PROJECT = f"sidecar{os.getpid()}"
SERVICES = ["pop1-suture", "pop1-app", "pop1-router", "pop2-suture", "pop2-app", "pop2-router", "edge", "client"]
FAMILIES = pytest.mark.parametrize("family", [4, 6])
PARTS = ["suture", "app", "router"]
READY_SECONDS = 60


# --- the example as labkit's clients see a lab

class Engine:
    """Hosts are services; clients and captures run in their networks, with this machine's programs."""

    def __init__(self, example):
        self._example = example

    def network(self, service):
        pid = self._example.inspect(service, "{{.State.Pid}}")
        assert pid not in ("", "0"), f"{service} does not run"
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

    def whole(self, pop):
        """All three run, in one network."""
        try:
            return len({os.readlink(self.state.engine.network(f"{pop}-{part}")) for part in PARTS}) == 1
        except (AssertionError, OSError):
            return False

    def bring_back(self, pop):
        """As the README says: suture's end took the network of the two others."""
        self.compose("up", "-d", "--no-build", "--force-recreate", *(f"{pop}-{part}" for part in PARTS))

    def up(self):
        for pop in ("pop1", "pop2"):
            if self.container(f"{pop}-suture") and not self.whole(pop):  # a test has stopped it
                self.bring_back(pop)
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
            assert answer.startswith(b"HTTP/1.1 200 ") and b'{"pop": "pop1"}' in answer, answer
        ask()
        example.compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", "pop1-app")
        assert example.container("pop1-app") != container
        assert network("pop1-suture") == network("pop1-app") == before
        # A request that comes before it listens gets a 502 and Connection: close; this one comes when it does.
        wait_until(lambda: example.who(4) == ("pop1", "pop1"), 20, 0.2, "the new application's answer")
        ask()
    wait_until(lambda: example.admin("pop1-suture", "/readyz")[0] == 200, 20, 0.1, "pop1 ready")


def test_sessions_live_through_docker_stop(example):
    """For longer than Docker's own 10 s: the file's stop_grace_period holds."""
    with sessions(example, 14, demo_sessions.WebSocket) as going:
        stopping = subprocess.Popen(["docker", "stop", example.container("pop1-suture")], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL)
        wait_until(lambda: all(example.who(family) == ("pop2", "pop2") for family in (4, 6)), 20, 0.1, "new connections go to pop2")
        for _ in range(2):
            going.heard_again()
        assert example.inspect("pop1-suture", "{{.State.Running}}") == "true", "it ended before its sessions had"
    assert stopping.wait(80) == 0
    assert example.inspect("pop1-suture", "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    check(going, "sidecar: docker stop")
    no_errors_in_logs(example, without="pop1-router")


def test_sessions_live_through_a_power_cut(example):
    with sessions(example, 8, Count) as going:
        going.heard_again()
        # suture first: a PoP's parts lose their power at once, and `docker kill` of several takes one after the other.
        assert docker("kill", example.container("pop1-suture")).returncode == 0
        assert docker("kill", example.container("pop1-app"), example.container("pop1-router")).returncode == 0
        for _ in range(2):
            going.heard_again()
        assert all(example.who(family) == ("pop2", "pop2") for family in (4, 6))
    check(going, "sidecar: power cut")
    assert example.metric("pop2-suture", "suture_heals_total") == len(going.sessions)
    assert example.metric("pop2-suture", "suture_heal_failures_total") == 0
    no_errors_in_logs(example, without="pop1-router")


def check(going, title):
    """Of the sessions' own connections; those of who() are in the capture, too."""
    own = {(one.family, one.port) for one in going.sessions}
    going.flows = {key: flow for key, flow in going.flows.items() if key[:2] in own}
    going.check(title)


def no_errors_in_logs(example, without=None):
    """`without`: a router whose network has gone says so. A busy machine may stand still for longer than suture's heartbeat may; that is
    said, too, and nobody's fault here."""
    for service in SERVICES + ["pki"]:
        done = docker("logs", example.container(service))
        bad = [line for line in (done.stdout + done.stderr).splitlines()
               if any(word in line for word in (" error ", " critical ", "<ERR>", "<FATAL>", "<BUG>", "Traceback"))
               and "heartbeat_withheld" not in line]
        assert service == without or not bad, f"{service}: " + "\n".join(bad)


def test_logs_are_clean(example):
    no_errors_in_logs(example)


# --- the Kubernetes manifest: what of it can be tried without Kubernetes

def pod():
    return next(one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "Deployment")["spec"]["template"]


def containers_of(kind):
    return {one["name"]: one for one in pod()["spec"][kind]}


def variables(container):
    """{name: value} of a container's env, with the ConfigMap's values and this pod's address."""
    values = next(one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "ConfigMap")["data"]
    address = pod()["metadata"]["annotations"]["ovn.kubernetes.io/ip_pool"]
    found = {}
    for one in container["env"]:
        source = one["valueFrom"]
        found[one["name"]] = address if "fieldRef" in source else values[source["configMapKeyRef"]["key"]]
    return found


def test_manifest_has_native_sidecars_and_what_they_may():
    sidecars = containers_of("initContainers")
    assert list(sidecars) == ["suture", "router"] and all(one["restartPolicy"] == "Always" for one in sidecars.values())
    capabilities = sidecars["suture"]["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"] and {"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "BPF", "PERFMON"} <= set(capabilities["add"])
    # No more than a drain can take, and less than the kubelet waits.
    assert 62 < pod()["spec"]["terminationGracePeriodSeconds"] < 120
    # What compose.yml gives it as sysctls, but for those that switch IPv6 on.
    compose = yaml.safe_load(FILE.read_text())["services"]["pop1-suture"]["sysctls"]
    assert {one["name"]: int(one["value"]) for one in pod()["spec"]["securityContext"]["sysctls"]} == {
        name: value for name, value in compose.items() if not name.endswith("disable_ipv6")}


def test_manifest_variables_are_those_that_suture_knows(home):
    given = variables(containers_of("initContainers")["suture"])
    words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    mount = next(one["mountPath"] for one in containers_of("initContainers")["suture"]["volumeMounts"] if one["name"] == "pki")
    done = docker("run", "--rm", "-v", f"{home}/pki:{mount}:ro", *words, "suture", "run", "--check-config")
    assert (done.returncode, done.stdout) == (0, "environment: ok\n"), done.stderr
    assert {"SUTURE_NODE", "SUTURE_UNDERLAY", "SUTURE_VIPS", "SUTURE_UPSTREAM", "SUTURE_PEERS"} <= set(given)


def test_manifest_probes(example):
    """Started and alive without its application, ready with it."""
    suture = containers_of("initContainers")["suture"]

    def probe(name):
        return docker("exec", example.container("pop2-suture"), *suture[name]["exec"]["command"])
    assert [probe(name).returncode for name in ("startupProbe", "livenessProbe", "readinessProbe")] == [0, 0, 0]
    example.compose("stop", "pop2-app")
    wait_until(lambda: probe("readinessProbe").returncode == 1, 20, 0.2, "not ready without its application")
    assert "application down" in probe("readinessProbe").stderr
    assert [probe(name).returncode for name in ("startupProbe", "livenessProbe")] == [0, 0]
    example.compose("start", "pop2-app")
    wait_until(lambda: probe("readinessProbe").returncode == 0, 20, 0.2, "ready again")


def test_manifest_hooks(example):
    """The end of a pod: the application's hook waits for the end of the drain that suture's has begun."""
    def hook(service, container):
        words = container["lifecycle"]["preStop"]["exec"]["command"]
        return subprocess.Popen(["docker", "exec", example.container(service), *words], stdin=subprocess.DEVNULL)
    with example.connect("client", 4, 80) as download:
        download.sendall(b"GET /slow?bytes=600000&rate=200000 HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n")
        got = download.recv(65536)
        waiting = hook("pop1-app", containers_of("containers")["app"])
        assert hook("pop1-suture", containers_of("initContainers")["suture"]).wait(10) == 0
        wait_until(lambda: example.admin("pop1-suture", "/readyz")[1].strip() == "draining", 5, what="pop1 drains")
        assert waiting.poll() is None
        while data := download.recv(65536):
            got += data
    assert got.partition(b"\r\n\r\n")[2] == (bytes(i * 131 % 251 for i in range(251)) * 2391)[:600000]
    assert waiting.wait(20) == 0
    wait_until(lambda: example.inspect("pop1-suture", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0", 20, 0.1,
               "pop1-suture ends with 0")


# --- bad input, with environment variables alone: the last line says what is wrong and what would help (test_image.py: with a file)

GOOD = {"SUTURE_NODE": "1", "SUTURE_UNDERLAY": "127.0.0.1", "SUTURE_VIPS": "203.0.113.10", "SUTURE_UPSTREAM": "127.0.0.1:8080",
        "SUTURE_PEERS": "2=198.51.100.18", "SUTURE_PKI": "/pki"}


def start(home, *words, **changes):
    """(exit status, last line of the log) of a container that must end by itself."""
    given = [word for name, value in {**GOOD, **changes}.items() if value is not None for word in ("-e", f"{name}={value}")]
    done = docker("run", "--rm", "-v", f"{home}/pki:/pki:ro", *given, *words, "suture", "run")
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


@pytest.mark.parametrize("name, value, said", [
    ("SUTURE_NODE", "one", "1 to 255"),
    ("SUTURE_NODE", "256", "1 to 255"),
    ("SUTURE_UNDERLAY", "eth0", "eth0"),
    ("SUTURE_VIPS", "203.0.113", "203.0.113"),
    ("SUTURE_UPSTREAM", "localhost", "localhost"),
    ("SUTURE_PEERS", "198.51.100.18", "wanted ID=ADDRESS"),
    ("SUTURE_PEERS", "2=pop2", "wanted ID=ADDRESS"),
    ("SUTURE_PEERS", "1=198.51.100.18", "1"),
    ("SUTURE_LISTEN", "http", "http"),
    ("SUTURE_MODE", "https", "https"),
    ("SUTURE_ANNOUNCE", "maybe", "maybe"),
    ("SUTURE_LOG_LEVEL", "loud", "loud"),
    ("SUTURE_VIP", "203.0.113.10", "did you mean SUTURE_VIPS?"),
    ("SUTURE_VIPS", None, "wanted the anycast addresses"),
])
def test_malformed_variable(home, name, value, said):
    status, last = start(home, **{name: value})
    assert status == 78 and last.startswith(f"{name}: ") and said in last, last


def test_no_certificates(home):
    status, last = start(home, SUTURE_PKI="/nowhere")
    assert status == 78 and "/nowhere/" in last, last


@pytest.mark.parametrize("missing", ["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "BPF"])
def test_missing_capability(home, capabilities, missing):
    absent = {"BPF": ["BPF", "PERFMON", "SYS_ADMIN"]}.get(missing, [missing])
    kept = [name for name in capabilities[3::2] if name not in absent]
    status, last = start(home, "--cap-drop", "ALL", *(word for name in kept for word in ("--cap-add", name)))
    assert status == 77 and f"missing capabilities: CAP_{missing}" in last and "cap_add" in last, last


def test_no_tun_device(home, capabilities):
    status, last = start(home, *capabilities)
    assert status == 1 and "/dev/net/tun" in last and "devices" in last, last


def test_two_containers_with_one_node_id(example, capabilities):
    """The second, beside pop1, says that it is node 2: it ends, and the first goes on."""
    words = [word for name, value in {"SUTURE_NODE": 2, "SUTURE_UNDERLAY": "198.51.100.11", "SUTURE_PEERS": "1=198.51.100.10",
                                      "SUTURE_VIPS": "203.0.113.10", "SUTURE_UPSTREAM": "127.0.0.1:8080"}.items()
             for word in ("-e", f"{name}={value}")]
    done = docker("run", "--rm", "--network", f"{PROJECT}_pop1", "--ip", "198.51.100.11", *capabilities, "--device", "/dev/net/tun",
                  "--sysctl", "net.ipv4.conf.all.rp_filter=0", "--sysctl", "net.ipv4.conf.default.rp_filter=0",
                  "-v", f"{PROJECT}_pop2-pki:/etc/suture/pki:ro", *words, "suture", "run")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 78 and "two nodes must not share an id" in last and "give each node a node.id" in last, done.stderr[-2000:]
    assert example.metric("pop1-suture", "suture_peer_up", peer="2") == 1
    assert example.who(4) == ("pop1", "pop1")


def test_zz_down_leaves_nothing(running):
    """Last of the example's: it goes."""
    running.compose("down", "-v", "--timeout", "1")
    of_project = ["--filter", f"label=com.docker.compose.project={PROJECT}", "-q"]
    for words in (["ps", "-a"], ["network", "ls"], ["volume", "ls"]):
        assert docker(*words, *of_project).stdout == ""
