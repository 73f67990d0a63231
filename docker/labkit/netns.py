"""Network namespaces: names, entering, creation of hosts and of the wires between them."""
import os
import pathlib

from .errors import LabError
from .system import run

WIRES = "wires"  # the namespace in which the two halves of every link meet


def name(state, host):
    return f"{state.lab}-{host}"


def path(state, host):
    return f"/run/netns/{name(state, host)}"


def enter(state, host):
    # Not `ip netns exec`: it mounts a new /sys, in which bpffs pins cannot be seen.
    return ["nsenter", f"--net={path(state, host)}", "--"]


def exists(state, host):
    return os.path.exists(path(state, host))


def all_of(state):
    """Every namespace of this lab, also of one that crashed half-way. (A lab named `a` must not take `a-b`'s: the
    part after the prefix is one of our host names.)"""
    prefix = f"{state.lab}-"
    found = []
    for entry in pathlib.Path("/run/netns").glob("*"):
        host = entry.name.removeprefix(prefix)
        if entry.name.startswith(prefix) and (host == WIRES or host.rstrip("0123456789") in ("client", "core", "pop")):
            found.append(host)
    return found


def pids(state, host):
    if not exists(state, host):
        return []
    return [int(pid) for pid in run(["ip", "netns", "pids", name(state, host)]).stdout.split()]


def remove_device(state, host, device):
    run(["ip", "-n", name(state, host), "link", "del", device], check=False)


def remove(state, host):
    run(["ip", "netns", "del", name(state, host)], check=False)


def ip_batch(state, host, lines, family=None):
    run(["ip", *(["-6"] if family == 6 else []), "-n", name(state, host), "-batch", "-"], text_in="\n".join(lines) + "\n")


def sysctl(state, host, values):
    run(enter(state, host) + ["sysctl", "-qw"] + [f"{key}={value}" for key, value in values.items()])


def create(state, host):
    """An empty namespace with the settings that every host shares. Before any device exists: `default` must reach all."""
    if exists(state, host):
        raise LabError(f"namespace {name(state, host)} exists already (docker/lab down removes an old lab)")
    run(["ip", "netns", "add", name(state, host)])
    forward = 1 if host.startswith("core") else 0
    sysctl(state, host, {
        "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
        "net.ipv4.ip_forward": forward, "net.ipv6.conf.all.forwarding": forward,
        "net.ipv6.conf.all.accept_ra": 0, "net.ipv6.conf.default.accept_ra": 0,
        "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
        "net.ipv6.conf.all.disable_ipv6": 1 if host == WIRES else 0,
        "net.ipv6.conf.default.disable_ipv6": 1 if host == WIRES else 0,
    })
    ip_batch(state, host, ["link set lo up"])


def create_end(state, link, end):
    """One end's veth pair: END's device, named after the other host, and its half of the wire."""
    wire = link.wire_device(end)
    run(["ip", "link", "add", link.other(end), "netns", name(state, end), "type", "veth",
         "peer", "name", wire, "netns", name(state, WIRES)])
    ip_batch(state, end, [
        f"addr add {link.addr4[end]}/{link.len4} dev {link.other(end)}",
        f"addr add {link.addr6[end]}/{link.len6} dev {link.other(end)} nodad",
        f"link set {link.other(end)} up",
    ])
    ip_batch(state, WIRES, [f"link set {wire} up"])


def configure_host(state, host):
    """Addresses on lo and static routes; BGP brings the rest."""
    ip_batch(state, host.name, host.addresses())
