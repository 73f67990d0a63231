"""The verbs of LAB.md, once the lab is up. Each takes the State and the parsed arguments and returns the exit status."""
import json
import os
import signal
import subprocess
import sys
import time

from . import bird, compose, lifecycle, procs, routes, suture, topology, wire
from .errors import LabError, UsageError


def host_of(topo, name, *kinds):
    host = topo.hosts.get(name)
    if host is None or (kinds and host.kind not in kinds):
        known = ", ".join(one.name for one in topo.hosts.values() if not kinds or one.kind in kinds)
        raise UsageError(f"unknown {' or '.join(kinds) if kinds else 'host'} '{name}': one of {known}")
    return host.name


def up(state, args):
    with state.lock():
        lifecycle.up(state, args.pops, args.config, args.strict_rpf, args.engine, say=lambda text: print(text, file=sys.stderr))
    print(f"the lab '{state.lab}' is up: VIP {topology.VIP4} and {topology.VIP6}, {args.pops} PoPs (docker/lab status)")
    return 0


def down(state, _args):
    with state.lock():
        lifecycle.down(state)
    return 0


def status_value(state):
    settings, topo = state.load(), state.topology()
    seen = bird.announcing(state, topo)
    listeners = [{"port": entry["port"], "mode": entry["mode"], "app": entry["app"], "upstream": entry["upstream"]}
                 for entry in topology.LISTENERS]
    pops, clients = [], []
    for pop in topo.pops():
        pops.append({"name": pop.name, "id": pop.number, "underlay4": pop.addr4, "underlay6": pop.addr6,
                     "admin": suture.ADMIN, "running": suture.running(state, pop.name),
                     "ready": suture.admin(state, pop.name, "GET", "/readyz", 1)[0] == 200,
                     "announcing": all(seen[pop.name]), "announcing4": seen[pop.name][0], "announcing6": seen[pop.name][1],
                     "power": not (state.dir / pop.name / "power-cut").exists()})
    for client in topo.clients():
        clients.append({"name": client.name, "addr4": client.addr4, "addr6": client.addr6,
                        "routed_to": routes.routed_to(state, topo, client.name, 4),
                        "routed_to6": routes.routed_to(state, topo, client.name, 6),
                        "prefers": settings["preference"][client.name]})
    emulated = [{"a": link.a, "b": link.b, "up": wire.plugged(state, link), "emulation": _shown(wire.emulation(state, link))}
                for link in topo.links]
    return {"vip4": topology.VIP4, "vip6": topology.VIP6, "engine": settings["engine"], "pops": pops, "clients": clients,
            "listeners": listeners, "links": emulated, "cuts": settings["cuts"], "redis": topology.REDIS,
            "suture": settings["suture"], "state": str(state.dir), "ssh_config": str(state.dir / "ssh" / "config")}


def _shown(emulation):
    return emulation and {key: value for key, value in emulation.items() if key != "devices"}


def status(state, args):
    value = status_value(state)
    if args.json:
        print(json.dumps(value, indent=1))
        return 0
    print(f"VIP   {value['vip4']}  {value['vip6']}    lab '{state.lab}', engine {value['engine']}, files in {value['state']}")
    for pop in value["pops"]:
        words = ["running" if pop["running"] else "down" if pop["power"] else "without power"]
        if pop["running"]:
            words.append("ready" if pop["ready"] else "not ready")
        words.append("announces" if pop["announcing"] else "silent")
        print(f"{pop['name']:8}{pop['underlay4']:16}{pop['underlay6']:14}{', '.join(words)}")
    for client in value["clients"]:
        to4, to6 = client["routed_to"], client["routed_to6"]
        where = to4 if to4 == to6 else f"{to4} (IPv4), {to6} (IPv6)"
        print(f"{client['name']:8}{client['addr4']:16}{client['addr6']:14}routed to {where or 'nobody'}")
    for entry in value["listeners"]:
        print(f"VIP:{entry['port']:<6}mode {entry['mode']:5} to {entry['upstream']:16}{entry['app']}")
    for link in value["links"]:
        if link["emulation"] or not link["up"]:
            print(f"link {link['a']} - {link['b']}: {'up' if link['up'] else 'down'} {link['emulation'] or ''}")
    for a, b in value["cuts"]:
        print(f"cut between {a} and {b}")
    return 0


def execute(state, args):
    name = host_of(state.topology(), args.host)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise UsageError("exec HOST CMD...: which command?")
    words = state.engine.exec_words(name, command)
    os.execvp(words[0], words)


def _switch(state, topo, client, pop):
    settings = state.load()
    settings["preference"][client] = pop
    state.save(settings)
    bird.prefer(state, topo, settings["preference"])
    if not all(bird.announcing(state, topo)[pop]):
        raise LabError(f"{pop} does not announce the VIP: {client} prefers it, and stays at "
                       f"{routes.routed_to(state, topo, client, 4)} meanwhile")
    lifecycle.wait_routed(state, topo, client, pop)


def switch(state, args):
    with state.lock():
        topo = state.topology()
        _switch(state, topo, host_of(topo, args.client, "client"), host_of(topo, args.pop, "pop"))
    return 0


def flap(state, args):
    topo = state.topology()
    client = host_of(topo, args.client, "client")
    if args.seconds <= 0:
        raise UsageError(f"flap CLIENT SECONDS: {args.seconds} is not a time")
    names = [pop.name for pop in topo.pops()]
    due = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            with state.lock():
                seen = bird.announcing(state, topo)
                candidates = [name for name in names if all(seen[name])]
                now = routes.routed_to(state, topo, client, 4)
                after = names[names.index(now) + 1:] + names[:names.index(now)] if now else names
                target = next((name for name in after if name in candidates), None)
                if target:
                    _switch(state, topo, client, target)
                    print(f"{client} -> {target}", flush=True)
            due += args.seconds
            time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        return 0


def kill(state, args):
    with state.lock():
        topo = state.topology()
        lifecycle.kill(state, topo, host_of(topo, args.pop, "pop"))
    return 0


def _signal_suture(state, pop, number):
    if not procs.send(state, pop, "suture", number):
        raise LabError(f"{pop}: suture does not run")


def crash(state, args):
    pop = host_of(state.topology(), args.pop, "pop")
    pid = procs.pid_of(state, pop, "suture")
    _signal_suture(state, pop, signal.SIGKILL)
    if not procs.gone(pid):
        raise LabError(f"{pop}: suture (pid {pid}) does not die")
    return 0


def freeze(state, args):
    _signal_suture(state, host_of(state.topology(), args.pop, "pop"), signal.SIGSTOP)
    return 0


def thaw(state, args):
    _signal_suture(state, host_of(state.topology(), args.pop, "pop"), signal.SIGCONT)
    return 0


def _post(state, pop, path):
    code, body = suture.admin(state, pop, "POST", path)
    if not 200 <= code < 300:
        raise LabError(f"{pop}: POST {path}: {code or 'no answer'} {body.strip()}", suture.log_path(state, pop))


def drain(state, args):
    topo = state.topology()
    pop = host_of(topo, args.pop, "pop")
    _post(state, pop, "/drain")
    lifecycle.wait_withdrawn(state, topo, pop)
    return 0


def undrain(state, args):
    topo = state.topology()
    pop = host_of(topo, args.pop, "pop")
    _post(state, pop, "/undrain")
    lifecycle.wait_announced(state, topo, [pop])
    return 0


def stop(state, args):
    """Returns when the route is withdrawn; the process lives on until its sessions have ended (or drain_ms)."""
    topo = state.topology()
    pop = host_of(topo, args.pop, "pop")
    pid = procs.pid_of(state, pop, "suture")
    if pid is None:
        raise LabError(f"{pop}: suture does not run")
    suture.request_stop(state, pop)
    lifecycle.wait_withdrawn(state, topo, pop)
    if args.now:
        _signal_suture(state, pop, signal.SIGTERM)
    if (args.now or args.wait) and not procs.gone(pid, 90):
        raise LabError(f"{pop}: suture (pid {pid}) does not end", suture.log_path(state, pop))
    return 0


def start(state, args):
    with state.lock():
        topo = state.topology()
        lifecycle.start(state, topo, host_of(topo, args.pop, "pop"), say=lambda text: print(text, file=sys.stderr))
    return 0


def _pair(topo, args):
    a, b = host_of(topo, args.a, "pop"), host_of(topo, args.b, "pop")
    if a == b:
        raise UsageError(f"{a} and {b} are the same PoP")
    return sorted((a, b))


def cut(state, args):
    with state.lock():
        topo, settings = state.topology(), state.load()
        pair = _pair(topo, args)
        routes.cut(state, topo, *pair)
        state.save({**settings, "cuts": [one for one in settings["cuts"] if one != pair] + [pair]})
    return 0


def mend(state, args):
    with state.lock():
        topo, settings = state.topology(), state.load()
        pair = _pair(topo, args)
        routes.mend(state, topo, *pair)
        state.save({**settings, "cuts": [one for one in settings["cuts"] if one != pair]})
    return 0


def link(state, args):
    parameters = {key: getattr(args, key) for key in ("delay", "jitter", "loss", "reorder", "rate") if getattr(args, key)}
    with state.lock():
        topo = state.topology()
        for one in topo.access_links(host_of(topo, args.host)):
            wire.emulate(state, one, parameters)
    return 0


def logs(state, args):
    pop = host_of(state.topology(), args.pop, "pop")
    try:
        return subprocess.run(state.engine.log_words(pop, "suture", args.follow)).returncode
    except KeyboardInterrupt:
        return 0


def capture(state, args):
    """tcpdump itself takes over, so that an interrupt ends it in order. Two access links: both, by interface index."""
    topo = state.topology()
    name = host_of(topo, args.host)
    devices = [one.other(name) for one in topo.access_links(name)]
    words = ["tcpdump", "--immediate-mode", "-U", "-n", "-B", "32768", "-Z", "root", "-w", "-"]
    if len(devices) == 1:
        words += ["-i", devices[0]]
        which = []
    else:
        shown = json.loads(subprocess.run([*state.engine.enter(name), "ip", "-j", "link"], capture_output=True, text=True).stdout)
        indexes = [str(one["ifindex"]) for one in shown if one["ifname"] in devices]
        words += ["-i", "any"]
        which = ["(" + " or ".join(f"ifindex {index}" for index in indexes) + ")"]
    expression = " and ".join(which + ([f"({' '.join(args.filter)})"] if args.filter else []))
    words = state.engine.enter(name) + words + ([expression] if expression else [])
    try:
        file = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        raise LabError(f"{args.file}: {error.strerror}") from None
    os.dup2(file, 1)  # the file is ours, wherever tcpdump runs
    os.execvp(words[0], words)


def write_compose(_state, args):
    if not 2 <= args.pops <= topology.POPS_MAX:
        raise UsageError(f"--pops {args.pops}: 2 to {topology.POPS_MAX}")
    print(compose.text(args.pops), end="")
    return 0


def demo(state, args):
    from .demo import demo as run_demo
    return run_demo(state, args)
