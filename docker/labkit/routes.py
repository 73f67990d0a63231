"""Where packets really go: the kernel's own answer, hop by hop, from a client to the PoP that is reached."""
import json

from . import topology
from .system import run


def _next_device(state, host, destination, source, came_by):
    words = [*state.engine.enter(host), "ip", "-j", "-6" if ":" in destination else "-4", "route", "get", destination]
    if came_by:
        words += ["from", source, "iif", came_by]
    done = run(words, check=False)
    try:
        return json.loads(done.stdout)[0].get("dev")
    except (ValueError, IndexError):
        return None


def trace(state, topo, client, family):
    """The hosts on the way to the VIP, e.g. [client1, core1, core2, pop3]; ends where no route leads on."""
    host = topo.hosts[client]
    source, vip = (host.addr4, topology.VIP4) if family == 4 else (host.addr6, topology.VIP6)
    way, came_by = [client], None
    while len(way) < 8:
        here = way[-1]
        if topo.hosts[here].kind == "pop":
            break
        device = _next_device(state, here, vip, source, came_by)
        if device not in topo.hosts:
            break
        way.append(device)
        came_by = here
    return way


def has_route(state, host, address):
    return _next_device(state, host, address, None, None) is not None


def routed_to(state, topo, client, family):
    """The PoP that serves this client now, or None."""
    last = trace(state, topo, client, family)[-1]
    return last if topo.hosts[last].kind == "pop" else None


def cut_table(a, b):
    return "cut_" + "_".join(sorted((a, b)))


def _addresses(host):
    four = [host.addr4] + [link.addr4[host.name] for link in host.links]
    six = [host.addr6] + [link.addr6[host.name] for link in host.links]
    return ", ".join(four), ", ".join(six)


def cut(state, topo, a, b):
    """A black hole between two PoPs' own addresses, in the cores' forwarding; what the VIP's clients send passes."""
    a4, a6 = _addresses(topo.hosts[a])
    b4, b6 = _addresses(topo.hosts[b])
    table = cut_table(a, b)
    rules = f"""table inet {table} {{}}
delete table inet {table}
table inet {table} {{ chain forward {{ type filter hook forward priority filter;
  ip saddr {{ {a4} }} ip daddr {{ {b4} }} counter drop
  ip saddr {{ {b4} }} ip daddr {{ {a4} }} counter drop
  ip6 saddr {{ {a6} }} ip6 daddr {{ {b6} }} counter drop
  ip6 saddr {{ {b6} }} ip6 daddr {{ {a6} }} counter drop
}}
}}
"""
    for core in topo.cores():
        run(state.engine.enter(core.name) + ["nft", "-f", "-"], text_in=rules)


def mend(state, topo, a, b):
    for core in topo.cores():
        run(state.engine.enter(core.name) + ["nft", "delete", "table", "inet", cut_table(a, b)], check=False)
