"""BGP: one BIRD per core and per PoP. Writes docker/bird's templates out, starts, and tells a core whom its client prefers."""
import re

from . import procs, topology
from .errors import LabError
from .state import DOCKER
from .system import run, wait_until

EXPORT_TO_POPS = "where !is_vip()"
OTHER_TABLE = 110  # at a core: the VIP as the other core's client sees it


def _fill(name, values):
    text = (DOCKER / "bird" / name).read_text()
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)


def config_text(kind, values, neighbours):
    """bird.conf of a core or a PoP: docker/bird's templates, with the values that they name; one more file for each neighbour."""
    parts = [_fill("common.conf", values), _fill(f"{kind}.conf", values)]
    return "\n".join(parts + [_fill(f"{kind}_neighbour.conf", values | one) for one in neighbours])


def preference_text(own, other):
    return f"define PREFER_OWN = {own};\ndefine PREFER_OTHER = {other};\n"


def _control(state, host):
    return state.dir / host / "bird.ctl"


def write_config(state, topo, host, preference):
    directory = state.host_dir(host.name)
    values = {
        "log": directory / "bird.log", "router_id": host.addr4, "vip4": topology.VIP4, "vip6": topology.VIP6,
        "table": topology.ROUTE_TABLE, "addr4": host.addr4, "addr6": host.addr6, "asn": host.asn,
        "prefer": directory / "prefer.conf", "other_table": OTHER_TABLE, "served": '"client*", "lo"',
    }
    neighbours = []
    for link in host.links:
        peer = topo.hosts[link.other(host.name)]
        if not peer.asn:
            continue
        between_cores = host.kind == peer.kind == "core"
        neighbours.append({
            "peer": peer.name, "peer_asn": peer.asn,
            "local4": link.addr4[host.name], "remote4": link.addr4[peer.name],
            "local6": link.addr6[host.name], "remote6": link.addr6[peer.name],
            # A PoP hears the way to everybody, but not the VIP. The cores tell each other all PoPs, not the best only.
            "export": "all" if between_cores else EXPORT_TO_POPS, "add_paths": "add paths on;" if between_cores else "",
        })
    (directory / "bird.conf").write_text(config_text(host.kind, values, neighbours))
    if host.kind == "core":
        write_preference(state, topo, host.name, preference)


def write_preference(state, topo, core, preference):
    own = topo.hosts[preference[topo.client_of(core)]].asn
    other = topo.hosts[preference[topo.client_of(topo.other_core(core))]].asn
    (state.host_dir(core) / "prefer.conf").write_text(preference_text(own, other))


def policy_rules(topo, core):
    """{family: lines for `ip -batch`}: the other core's client has a table of its own."""
    other_client = topo.hosts[topo.client_of(topo.other_core(core))]
    client_link = other_client.links[0]
    return {family: [f"rule add from {net} lookup {OTHER_TABLE} pref 100"] for family, net in zip((4, 6), client_link.nets())}


def strict_rpf(state, topo, core):
    """Reverse-path checks on the core's links to clients and PoPs."""
    checked = [link.other(core) for link in topo.hosts[core].links if topo.hosts[link.other(core)].kind != "core"]
    state.engine.sysctl(core, {f"net.ipv4.conf.{device}.rp_filter": 1 for device in checked})
    devices = ", ".join(f'"{device}"' for device in checked)
    # IPv6 has no rp_filter of its own. Neighbour discovery's link-local sources are on every link.
    rules = (f"table ip6 strict_rpf {{ chain check {{ type filter hook prerouting priority raw;\n"
             f"  iifname {{ {devices} }} ip6 saddr != fe80::/10 fib saddr . iif oif missing counter drop\n}}\n}}\n")
    run(state.engine.enter(core) + ["nft", "-f", "-"], text_in=rules)


def start(state, host):
    if procs.pid_of(state, host, "bird"):
        return
    directory = state.host_dir(host)
    _control(state, host).unlink(missing_ok=True)
    procs.spawn(state, host, "bird", command(state, host), log=directory / "bird.out", realtime=True)


def command(state, host):
    return ["bird", "-f", "-c", state.dir / host / "bird.conf", "-s", _control(state, host)]


def wait_started(state, host):
    def answers():
        return not procs.pid_of(state, host, "bird") or control(state, host, "show status", check=False)
    if not (wait_until(answers, 10) and procs.pid_of(state, host, "bird")):
        raise LabError(f"{host}: BIRD did not start", state.engine.log_path(host, "bird"))


def control(state, host, command, check=True):
    """birdc's answer as text; "" if BIRD does not answer and check is off."""
    done = run([*state.engine.enter(host), "birdc", "-r" if command.startswith("show") else "-v", "-s", str(_control(state, host)), *command.split()],
               check=check)
    return done.stdout if done.returncode == 0 else ""


def prefer(state, topo, preference):
    """Makes both cores follow `preference` (client -> pop)."""
    for core in topo.cores():
        write_preference(state, topo, core.name, preference)
        answer = control(state, core.name, "configure")
        if not re.search(r"Reconfigur(ed|ation)", answer):
            raise LabError(f"{core.name}: BIRD refused its configuration: {answer.strip()}", state.dir / core.name / "bird.log")


def announcing(state, topo):
    """{pop: (v4, v6)}: who announces the VIP, as the core routers that they hang on see it."""
    found = {pop.name: [False, False] for pop in topo.pops()}
    for core in topo.cores():
        for family, vip in enumerate((f"{topology.VIP4}/32", f"{topology.VIP6}/128")):
            text = control(state, core.name, f"show route for {vip} table master{4 + family * 2} all", check=False)
            for path in re.findall(r"BGP\.as_path: (\d+)\s*$", text, re.M):
                pop = next((pop.name for pop in topo.pops() if pop.asn == int(path)), None)
                if pop:
                    found[pop][family] = True
    return {name: tuple(value) for name, value in found.items()}
