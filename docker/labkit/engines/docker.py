"""The engine of containers: docker/compose.yml, driven from outside. Needs root on the machine of the Docker engine (nsenter), and
nothing of the lab's tools there: they are in the containers, whose files and networks they are started in."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

from .. import apps, bird, compose, procs, wire
from ..errors import LabError, UsageError
from ..netns import WIRES
from ..state import DOCKER
from ..system import run, wait_until
from . import Engine

IMAGES = ["suture", "suture-lab", "suture-prometheus"]
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
UP_SECONDS = 300


class DockerEngine(Engine):
    docker_dir = pathlib.Path("/opt/suture/docker")  # in the image

    def __init__(self, state):
        super().__init__(state)
        self._containers, self._pids = {}, {}

    # --- the whole lab
    @property
    def project(self):
        return f"suture-{self.state.lab}"

    def prepare(self, say):
        if os.geteuid() != 0:
            raise LabError("docker/lab enters the containers' networks: it needs root")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.state.lab):
            raise UsageError(f"SUTURE_LAB={self.state.lab}: with --engine docker a lab's name is lower-case letters, digits, '_' or '-'")
        if not shutil.which("docker"):
            raise LabError("docker is not installed (Debian: apt install docker.io docker-compose)")
        if run(["docker", "version", "-f", "{{.Server.Version}}"], check=False).returncode != 0:
            raise LabError("no Docker engine answers: " + run(["docker", "version"], check=False).stderr.strip())
        if not os.path.exists("/dev/net/tun"):
            raise LabError("/dev/net/tun does not exist; make it: mkdir -p /dev/net; mknod /dev/net/tun c 10 200; modprobe tun")
        _compose_command()
        if os.environ.get("SUTURE_TAG"):
            tag = os.environ["SUTURE_TAG"]
        else:
            tag = "latest"
            say("building the images: what has not changed is there already; a first time takes several minutes")
            if subprocess.run([str(DOCKER / "build")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode != 0:
                raise LabError("docker/build failed")
        for image in IMAGES:
            run(["docker", "image", "inspect", f"{image}:{tag}"])
        return f"suture:{tag}"

    def leftovers(self):
        return [f"container {service}" for service in self._services()]

    def build(self, topo, settings, say):
        from .. import lifecycle  # which knows engines
        words, environment = self._compose(topo)
        done = subprocess.run([*words, "up", "-d", "--no-build"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=UP_SECONDS)
        (self.state.dir / "compose.log").write_text(done.stdout)
        self._containers.clear()
        if done.returncode != 0:
            if "Pool overlaps" in done.stdout:
                raise LabError("another network of this Docker engine has the lab's addresses: one lab of this engine at a time")
            raise LabError(f"{' '.join(words)} up failed: {self._last_words()}", self.state.dir / "compose.log")
        for host in topo.cores() + topo.pops():
            bird.wait_started(self.state, host.name)
        lifecycle.wait_underlay(self.state, topo)
        for pop in topo.pops():
            apps.wait_pop(self.state, pop.name)

    def _compose(self, topo):
        """compose.yml with words and environment. It is written for three PoPs; any other number is written here."""
        file = DOCKER / "compose.yml"
        if len(topo.pops()) != 3:
            file = self.state.dir / "compose.yml"
            file.write_text(compose.text(len(topo.pops())))
        environment = {**os.environ, "SUTURE_LAB": self.state.lab, "SUTURE_LAB_DIR": str(self.state.dir), **self._capabilities()}
        return [*_compose_command(), "-p", self.project, "--project-directory", str(DOCKER), "-f", str(file)], environment

    @staticmethod
    def _capabilities():
        """BPF and PERFMON, if this engine knows them (compose.yml)."""
        made = run(["docker", "create", "--cap-add", "BPF", "--cap-add", "PERFMON", f"suture:{os.environ.get('SUTURE_TAG') or 'latest'}"],
                   check=False)
        if made.returncode != 0:
            return {}
        run(["docker", "rm", made.stdout.strip()], check=False)
        return {"SUTURE_CAP_BPF": "BPF", "SUTURE_CAP_PERFMON": "PERFMON"}

    def _last_words(self):
        """Of the containers that have ended with an error: what each said last."""
        said = []
        for service, container in self._services().items():
            state = json.loads(run(["docker", "inspect", "-f", "{{json .State}}", container]).stdout)
            if not state["Running"] and state["ExitCode"] != 0:
                said.append(f"{service} (exit {state['ExitCode']}): " + (_logs(container).strip().splitlines() or ["nothing"])[-1])
        return "; ".join(said) or "see below"

    def down(self):
        """By label, not by what the state file says."""
        if not shutil.which("docker") or run(["docker", "version", "-f", "{{.Server.Version}}"], check=False).returncode != 0:
            return
        if self.state.exists() and self._running(self._service_of("core1")):
            for link in self.state.topology().links:
                wire.restore(self.state, link)
        containers = list(self._services().values())
        if containers:
            run(["docker", "rm", "-f", "-v", *containers], timeout=120)
        for kind in ("network", "volume"):
            names = run(["docker", kind, "ls", "-q", "--filter", f"label={PROJECT}={self.project}"]).stdout.split()
            if names:
                run(["docker", kind, "rm", *names])
        self._containers.clear()
        self._pids.clear()

    # --- containers
    def _services(self):
        """{service: container id} of this lab."""
        listed = run(["docker", "ps", "-a", "--no-trunc", "--filter", f"label={PROJECT}={self.project}",
                      "--format", f"{{{{.ID}}}} {{{{.Label \"{SERVICE}\"}}}}"]).stdout
        return {line.split()[1]: line.split()[0] for line in listed.splitlines()}

    @staticmethod
    def _service_of(host, role=None):
        """A PoP's suture and applications have containers of their own in its network; everything else is in the host's."""
        if role == "suture":
            return f"{host}-suture"
        return f"{host}-app" if role in apps.POP_ROLES else host

    def _container(self, service):
        if service not in self._containers:
            self._containers = self._services()
        if service not in self._containers:
            raise LabError(f"there is no container {service} in project {self.project}")
        return self._containers[service]

    def _running(self, service):
        """The pid, as the lab sees it, of the container's first process; None if it does not run."""
        pid, started = self._pids.get(service, (0, None))
        if pid and procs.start_time(pid) == started:
            return pid
        self._pids.pop(service, None)
        services = self._containers or self._services()
        if service not in services:
            return None
        shown = run(["docker", "inspect", "-f", "{{.State.Pid}}", services[service]], check=False)
        pid = int(shown.stdout.strip() or 0) if shown.returncode == 0 else 0
        started = procs.start_time(pid) if pid else None
        if started is None:
            return None
        self._pids[service] = (pid, started)
        return pid

    def _pid(self, service):
        pid = self._running(service)
        if pid is None:
            raise LabError(f"{service} does not run" + (" (without power: docker/lab start)" if service.startswith("pop") else ""))
        return pid

    def _start(self, service):
        if not self._running(service):
            run(["docker", "start", self._container(service)])

    # --- a host
    def enter(self, host):
        if host == WIRES:
            # The links' middles are bridges of this machine; tools and files are the containers'.
            return ["nsenter", "-t", str(self._pid("core1")), "-m", "--"]
        return ["nsenter", "-t", str(self._pid(host)), "-m", "-n", "--"]

    def inside(self, host):
        if host == WIRES:
            return self.enter(host)
        pid = self._pid(f"{host}-app" if host.startswith("pop") else host)
        return ["nsenter", "-t", str(pid), "-m", "-n", "-p", "-u", "-i", "--"]

    def exec_words(self, host, command):
        service = f"{host}-app" if host.startswith("pop") else host
        self._pid(service)
        terminal = ["-t"] if os.isatty(0) and os.isatty(1) else []
        return ["docker", "exec", "-i", *terminal, self._container(service), *command]

    def network(self, host):
        return f"/proc/{self._pid(host)}/ns/net"

    def sysctl(self, host, values):
        # With this machine's /proc: the container's is read-only.
        run(["nsenter", f"--net={self.network(host)}", "--", "sysctl", "-qw"] + [f"{key}={value}" for key, value in values.items()])

    def pid_of(self, host, role):
        if role in ("suture", "bird", *apps.POP_ROLES):
            return self._running(self._service_of(host, role))
        return procs.spawned(self.state, host, role)

    def log_path(self, host, role):
        """A copy of what Docker has kept."""
        if role not in ("suture", "bird", *apps.POP_ROLES):
            return self.state.dir / host / f"{role}.log"
        path = self.state.host_dir(host) / f"{self._service_of(host, role)}.log"
        path.write_text(_logs(self._container(self._service_of(host, role))))
        return path

    def log_words(self, host, role, follow):
        container = self._container(self._service_of(host, role))
        return ["sh", "-c", 'exec docker logs "$@" 2>&1', "sh", *(["-f"] if follow else []), container]

    # --- a PoP
    def power_off(self, topo, pop):
        services = compose.containers(pop)
        for service in services:
            pid = self._running(service)
            if pid:
                os.kill(pid, signal.SIGKILL)  # the first process of a container: the kernel kills the others with it
        if not wait_until(lambda: not any(self._running(service) for service in services), 20, 0.05):
            raise LabError(f"{pop}: its containers do not end")
        for service in services:  # the engine has taken note, and the network with its devices is gone
            run(["docker", "wait", self._container(service)])

    def power_on(self, topo, pop):
        self._start(pop)
        bird.wait_started(self.state, pop)
        for link in topo.hosts[pop].links:
            wire.emulate_again(self.state, link)

    def start_services(self, topo, pop):
        self._start(pop)
        bird.wait_started(self.state, pop)
        self._start(f"{pop}-app")
        apps.wait_pop(self.state, pop)

    def start_suture(self, pop):
        self._start(f"{pop}-suture")

    # --- the links
    def wire_device(self, link, end):
        if not self._running(end):
            return None
        shown = run([*self.enter(end), "ip", "-j", "link", "show", "dev", link.other(end)], check=False)
        if shown.returncode != 0:
            return None
        index = str(json.loads(shown.stdout)[0]["link_index"])
        for path in pathlib.Path("/sys/class/net").glob("*/ifindex"):
            if path.read_text().strip() == index:
                return path.parent.name
        return None

    def wire_program(self):
        return "/usr/lib/suture/suture_wire"


def _logs(container):
    done = subprocess.run(["docker", "logs", container], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    return done.stdout


def _compose_command():
    """Compose v2 (the docker client's plugin) or docker-compose 1.29."""
    if run(["docker", "compose", "version"], check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise LabError("neither `docker compose` nor docker-compose is installed (Debian: apt install docker-compose)")
