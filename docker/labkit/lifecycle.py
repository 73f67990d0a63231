"""up, down, start, kill: making hosts and taking them away."""
import signal

from . import bird, engines, procs, routes, suture, wire
from .errors import LabError, UsageError
from .state import DEFAULTS
from .system import wait_until
from .topology import POPS_MAX, Topology


def up(state, pops=3, config=None, strict_rpf=False, engine="netns", say=print):
    if not 2 <= pops <= POPS_MAX:
        raise UsageError(f"--pops {pops}: 2 to {POPS_MAX}")
    common, single = suture.read_overrides(config, pops) if config else ({}, {})
    if state.exists():
        raise LabError(f"the lab '{state.lab}' is up already (docker/lab down removes it)")
    maker = engines.make(engine, state)
    program = maker.prepare(say)
    left = maker.leftovers()
    if left:
        raise LabError(f"of a former lab '{state.lab}' these are left: {', '.join(left)} (docker/lab down removes them)")
    topo = Topology(pops)
    # SIGTERM and SIGHUP clean up as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        state.create({**DEFAULTS, "pops": pops, "engine": engine, "strict_rpf": strict_rpf, "suture": program, "config": common,
                      "pop_config": single, "preference": topo.default_preference()})
        _build(state, topo, say)
    except BaseException as error:
        # The log goes with the lab: its last lines are the reason, so they are read before.
        if isinstance(error, LabError) and error.log:
            error.args = (f"{error}{log_tail(error.log)}",)
            error.log = None
        down(state)
        raise


def _build(state, topo, say):
    settings = state.load()
    state.engine.build(topo, settings, say)
    if settings["strict_rpf"]:
        for core in topo.cores():
            bird.strict_rpf(state, topo, core.name)
    for pop in topo.pops():
        suture.wait_ready(state, pop.name)
    wait_announced(state, topo, [pop.name for pop in topo.pops()])
    for client, pop in settings["preference"].items():
        wait_routed(state, topo, client, pop)


def wait_underlay(state, topo, timeout=20):
    def missing():
        for pop in topo.pops():
            for other in topo.pops():
                for address in (other.addr4, other.addr6):
                    if other is not pop and not routes.has_route(state, pop.name, address):
                        return f"{pop.name} has no route to {address}"
        return None
    if not wait_until(lambda: not missing(), timeout, 0.05):
        raise LabError(f"BGP did not converge within {timeout} s: {missing()}", state.dir / "core1" / "bird.log")


def wait_announced(state, topo, pops, timeout=15):
    def check():
        seen = bird.announcing(state, topo)
        return all(all(seen[pop]) for pop in pops)
    if not wait_until(check, timeout, 0.02):
        seen = bird.announcing(state, topo)
        silent = ", ".join(pop for pop in pops if not all(seen[pop]))
        raise LabError(f"{silent}: ready, but the core routers do not hear the VIP", state.dir / pops[0] / "bird.log")


def wait_withdrawn(state, topo, pop, timeout=10):
    if not wait_until(lambda: not any(bird.announcing(state, topo)[pop]), timeout, 0.02):
        raise LabError(f"{pop}: the core routers still hear the VIP from it", suture.log_path(state, pop))


def wait_routed(state, topo, client, pop, timeout=10):
    if not wait_until(lambda: all(routes.routed_to(state, topo, client, family) == pop for family in (4, 6)), timeout):
        where = [routes.routed_to(state, topo, client, family) for family in (4, 6)]
        raise LabError(f"{client} is routed to {where[0]} (IPv4) and {where[1]} (IPv6), not to {pop}")


def down(state):
    """Everything that this lab made, also what a crashed one left: a lab without its state file could be any engine's."""
    makers = [state.engine] if state.exists() else engines.make_all(state)
    for maker in makers:
        maker.down()
    state.remove()


def kill(state, topo, pop):
    """Power cut: the cable goes first, so that nothing that the dying processes say gets out."""
    for link in topo.hosts[pop].links:
        wire.plug(state, link, up=False)
    state.engine.power_off(topo, pop)
    (state.dir / pop / "power-cut").touch()


def start(state, topo, pop, say=print):
    settings = state.load()
    host = topo.hosts[pop]
    marker = state.dir / pop / "power-cut"
    if marker.exists():
        state.engine.power_on(topo, pop)
        marker.unlink()
    for link in host.links:
        wire.plug(state, link, up=True)
    state.engine.start_services(topo, pop)
    _wait_stopping(state, pop, say)
    if not suture.running(state, pop):
        suture.write_config(state, topo, host, settings)
        state.engine.start_suture(pop)
    else:
        procs.send(state, pop, "suture", signal.SIGCONT)
    suture.wait_ready(state, pop)
    wait_announced(state, topo, [pop])


def _wait_stopping(state, pop, say):
    """A process that drains still serves its sessions: it is waited for, as long as its configuration lets it drain."""
    pid = procs.pid_of(state, pop, "suture")
    if pid is None or not suture.stopping(state, pop):
        return
    if not procs.gone(pid, 0.5):
        say(f"{pop}: waiting for the former suture (pid {pid}) to drain")
        if not procs.gone(pid, 90):
            raise LabError(f"{pop}: the former suture (pid {pid}) does not end", suture.log_path(state, pop))


def log_tail(path, lines=15):
    try:
        text = open(path, errors="replace").read().splitlines()[-lines:]
    except OSError:
        return ""
    return f"\nlast lines of {path}:\n  " + "\n  ".join(text) if text else f"\n({path} is empty)"
