"""What makes the lab's hosts: network namespaces of this machine, or containers. What differs between the two is behind one
interface, Engine; verbs, status, demo, BGP preferences, cuts and the links' emulation are shared."""
import abc

from ..errors import LabError

NAMES = ["netns", "docker"]


class Engine(abc.ABC):
    """One lab's hosts. `host` and `pop` are names of the topology; WIRES (netns.py) is where the links' middles are."""

    docker_dir = None  # this directory, as inside() finds it

    def __init__(self, state):
        self.state = state

    # --- the whole lab
    @abc.abstractmethod
    def prepare(self, say):
        """Installs and builds what is missing. Returns what status shows as `suture`."""

    @abc.abstractmethod
    def leftovers(self):
        """Names of what a former lab of this name has left."""

    @abc.abstractmethod
    def build(self, topo, settings, say):
        """Hosts, links, routers, applications and suture: started, nothing of it waited for but BGP between the PoPs."""

    @abc.abstractmethod
    def down(self):
        """Takes away everything of this lab, also what a crashed one left. Nothing there is no mistake."""

    # --- a host
    @abc.abstractmethod
    def enter(self, host):
        """What to put before a command: it runs in the host's network and sees the host's files, but it is the lab's process."""

    @abc.abstractmethod
    def inside(self, host):
        """The same for a process of the host itself, which dies with it."""

    @abc.abstractmethod
    def exec_words(self, host, command):
        """The whole command of `docker/lab exec`: streams and exit status pass through."""

    @abc.abstractmethod
    def network(self, host):
        """Path of the host's network namespace, for setns(2)."""

    @abc.abstractmethod
    def sysctl(self, host, values):
        """Sets {name: value} in the host's network."""

    @abc.abstractmethod
    def pid_of(self, host, role):
        """The living process of that role (suture, nginx, app, chat, sshd, bird; also what procs.spawn started), or None."""

    @abc.abstractmethod
    def log_path(self, host, role):
        """A file with what the role has said until now."""

    @abc.abstractmethod
    def log_words(self, host, role, follow):
        """A command that writes the log to its standard output; with `follow` until it is interrupted."""

    # --- a PoP
    @abc.abstractmethod
    def power_off(self, topo, pop):
        """SIGKILL of everything there; the links are down already."""

    @abc.abstractmethod
    def power_on(self, topo, pop):
        """After power_off: a machine that boots has an empty kernel, no sockets and no devices of its former life."""

    @abc.abstractmethod
    def start_services(self, topo, pop):
        """Router and applications, what of them does not run; returns when they serve."""

    @abc.abstractmethod
    def start_suture(self, pop):
        """With the configuration that suture.write_config has written; returns at once."""

    # --- the links
    @abc.abstractmethod
    def wire_device(self, link, end):
        """The device at WIRES that ends at that end's own device: what `end` sends arrives there. None: the host has no power."""

    @abc.abstractmethod
    def wire_program(self):
        """The link emulator (docker/wire), as enter(WIRES) finds it."""


def make(name, state):
    """The engine of that name; modules are loaded only when they are wanted."""
    if name == "netns":
        from .netns import NetnsEngine
        return NetnsEngine(state)
    if name == "docker":
        from .docker import DockerEngine
        return DockerEngine(state)
    raise LabError(f"unknown engine '{name}'")


def make_all(state):
    return [make(name, state) for name in NAMES]
