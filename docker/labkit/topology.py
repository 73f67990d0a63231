"""The picture of LAB.md as data: hosts, links, addresses. Pure; nothing here touches the system.

    client1 - core1 --- core2 - client2
               |  \\   /  |
             pop1  pop2  pop3

Every device is named after the host at its other end, so a route's device says where the packet goes next.
"""
import ipaddress
from dataclasses import dataclass, field

VIP4, VIP6 = "203.0.113.10", "2001:db8:113::10"
REDIS = "198.18.0.250"
ROUTE_TABLE, ROUTE_PROTOCOL = 199, 199
POPS_MAX = 32
CHAT_PORT = 8082
ADMIN_PORT = 9180
# kind of application, by VIP port: LAB.md's table
LISTENERS = [
    {"port": 80, "mode": "http", "upstream": "127.0.0.1:8080", "app": "nginx",
     "routes": [{"path": "/chat", "upstream": f"127.0.0.1:{CHAT_PORT}"}]},
    {"port": 22, "mode": "tcp", "upstream": "127.0.0.1:2222", "app": "sshd"},
    {"port": 9000, "mode": "http", "upstream": "127.0.0.1:9001", "app": "yours"},
    {"port": 9100, "mode": "tcp", "upstream": "127.0.0.1:9101", "app": "yours"},
]


@dataclass
class Host:
    name: str
    kind: str  # client, core, pop
    number: int
    asn: int = 0
    addr4: str = ""  # client: its address; pop: underlay; core: router id
    addr6: str = ""
    links: list = field(default_factory=list)

    def link_to(self, other):
        return next(link for link in self.links if other in (link.a, link.b))

    def addresses(self):
        """What a host has on lo, and its static routes, for `ip -batch`; BGP brings the rest."""
        if self.kind == "client":
            gateway = self.links[0].other(self.name)
            return [f"route add default via {self.links[0].addr4[gateway]}", f"route add default via {self.links[0].addr6[gateway]}"]
        lines = [f"addr add {self.addr4}/32 dev lo", f"addr add {self.addr6}/128 dev lo nodad"]
        if self.kind == "pop":
            lines += [f"addr add {VIP4}/32 dev lo", f"addr add {VIP6}/128 dev lo nodad"]
        if self.name == "core1":
            lines.append(f"addr add {REDIS}/32 dev lo")
        return lines


@dataclass
class Link:
    """Two ends, a and b, each with an address per family and the prefix lengths of the net between them."""
    a: str
    b: str
    addr4: dict
    addr6: dict
    len4: int
    len6: int

    def other(self, name):
        return self.b if name == self.a else self.a

    def wire_device(self, end):
        """The device in the wire namespace on the side of `end`."""
        return f"{end}.{self.other(end)}"

    def nets(self):
        """Both networks, as ipaddress objects."""
        return (ipaddress.ip_network(f"{self.addr4[self.a]}/{self.len4}", strict=False),
                ipaddress.ip_network(f"{self.addr6[self.a]}/{self.len6}", strict=False))


class Topology:
    def __init__(self, pops=3):
        self.hosts = {}
        self.links = []
        for n in (1, 2):
            self._add(Host(f"core{n}", "core", n, 65100 + n, f"198.18.0.{240 + n}", f"fd00:5::{240 + n:x}"))
        for n in (1, 2):
            self._add(Host(f"client{n}", "client", n, 0, f"198.19.{n}.10", f"fd00:5:c{n}::10"))
        for n in range(1, pops + 1):
            self._add(Host(f"pop{n}", "pop", n, 65000 + n, f"198.18.0.{n}", f"fd00:5::{n:x}"))
        for n in (1, 2):
            # A whole net for clients, so that tests can give a client more addresses.
            self._link(f"client{n}", f"core{n}", {f"client{n}": f"198.19.{n}.10", f"core{n}": f"198.19.{n}.1"},
                       {f"client{n}": f"fd00:5:c{n}::10", f"core{n}": f"fd00:5:c{n}::1"}, 24, 64)
        self._transit("core1", "core2", 0)
        for pop in self.pops():
            for core in pop_cores(pop.number):
                self._transit(pop.name, core, pop.number * 2 + int(core[-1]) - 1)

    def _add(self, host):
        self.hosts[host.name] = host

    def _link(self, a, b, addr4, addr6, len4, len6):
        link = Link(a, b, addr4, addr6, len4, len6)
        self.links.append(link)
        self.hosts[a].links.append(link)
        self.hosts[b].links.append(link)

    def _transit(self, a, b, index):
        # Two addresses and, at its end, one to spare: a Docker network wants one for itself.
        third, fourth = 16 + index // 32, index % 32 * 8
        self._link(a, b, {a: f"198.18.{third}.{fourth + 2}", b: f"198.18.{third}.{fourth + 1}"},
                   {a: f"fd00:5:{index + 0x100:x}::2", b: f"fd00:5:{index + 0x100:x}::1"}, 29, 64)

    def of_kind(self, kind):
        return [host for host in self.hosts.values() if host.kind == kind]

    def pops(self):
        return self.of_kind("pop")

    def cores(self):
        return self.of_kind("core")

    def clients(self):
        return self.of_kind("client")

    def access_links(self, name):
        """What `lab link HOST` means: a client's or PoP's links to the core; for a core, the link between the cores."""
        host = self.hosts[name]
        return [link for link in host.links if host.kind != "core" or self.hosts[link.other(name)].kind == "core"]

    def default_preference(self):
        return {"client1": "pop1", "client2": f"pop{min(3, len(self.pops()))}"}

    def client_of(self, core):
        return f"client{core[-1]}"

    def core_of(self, client):
        return f"core{client[-1]}"

    def other_core(self, core):
        return "core2" if core == "core1" else "core1"


def pop_cores(number):
    """pop1 hangs on core1, pop2 on both, pop3 on core2; further ones likewise in turn."""
    return {1: ["core1"], 2: ["core1", "core2"], 0: ["core2"]}[number % 3]
