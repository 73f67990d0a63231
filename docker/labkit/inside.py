"""What a container of docker/compose.yml runs: docker/inside ROLE [NAME]. The same configurations and commands as the namespaces of the
other engine have; only devices come from Docker, with names and default routes of its own.

  prepare POPS    once, without a network: certificates, keys, files, every configuration; then it ends
  router NAME     a core's or PoP's BIRD; owns the network that suture and applications of a PoP join
  client NAME     nothing but a network
  app POP         nginx, its application, the chat and sshd, until one of them ends
  redis           at core1

And what a router of docker/sidecar/compose.yml runs (sidecar.py):

  bgp KIND        BIRD at a PoP (pop) or before them (core), as environment variables say
  prefer POP      at a core that runs: from now on everything goes to POP
"""
import json
import os
import pathlib
import pwd
import signal
import subprocess
import sys

from . import apps, bird, files, procs, prometheus, sidecar, suture
from .errors import LabError
from .state import DEFAULTS, State
from .system import run, wait_until
from .topology import Topology

SUTURE = "/usr/bin/suture"
ADDRESS_SECONDS = 30  # until the router of a PoP has put its underlay address on lo


def prepare(state, pops):
    """Writes what is not there yet; of a lab that docker/lab makes the settings are."""
    if not state.exists():
        topo = Topology(int(pops))
        state.create({**DEFAULTS, "pops": int(pops), "engine": "docker", "suture": SUTURE, "preference": topo.default_preference()})
    settings, topo = state.load(), state.topology()
    if not (files.directory(state) / "1g").exists():
        files.make(state)
    if not (state.dir / "pki" / "ca.pem").exists():
        suture.make_certificates(state, topo, SUTURE)
    if not apps.ssh_dir(state).exists():
        apps.make_keys(state)
    # suture is not root in its container: it must reach its own key, which is nobody else's.
    (state.dir / "pki").chmod(0o755)
    user = pwd.getpwnam("suture")
    for key in (state.dir / "pki").glob("pop*.key"):
        os.chown(key, user.pw_uid, user.pw_gid)
    for host in topo.cores() + topo.pops():
        bird.write_config(state, topo, host, settings["preference"])
    for pop in topo.pops():
        suture.write_config(state, topo, pop, settings)
    prometheus.write_targets(state, topo)


def name_devices(host):
    """Each device gets the name of the host at its other end, as LAB.md's hosts have them; Docker's default routes go."""
    shown = json.loads(run(["ip", "-j", "addr"]).stdout)
    for link in host.links:
        address = link.addr4[host.name]
        device = next((one["ifname"] for one in shown if any(a.get("local") == address for a in one["addr_info"])), None)
        if device is None:
            raise LabError(f"{host.name}: no device has the address {address}; is the container in network {link.a}-{link.b}?")
        lines = [f"link set {device} down"]
        lines += [f"link set {device} name {link.other(host.name)}"] if device != link.other(host.name) else []
        lines += [f"link set {link.other(host.name)} up",
                  f"addr replace {link.addr6[host.name]}/{link.len6} dev {link.other(host.name)} nodad"]
        run(["ip", "-batch", "-"], text_in="\n".join(lines) + "\n")
    for family in ("-4", "-6"):
        run(["ip", family, "route", "flush", "exact", "default"], check=False)


def configure(topo, host):
    name_devices(host)
    run(["ip", "-batch", "-"], text_in="\n".join(host.addresses()) + "\n")
    if host.kind == "core":
        for family, rules in bird.policy_rules(topo, host.name).items():
            run(["ip", f"-{family}", "-batch", "-"], text_in="\n".join(rules) + "\n")


def router(state, name):
    topo = state.topology()
    configure(topo, topo.hosts[name])
    (state.dir / name / "bird.ctl").unlink(missing_ok=True)
    procs.make_realtime()
    _become(bird.command(state, name))


def client(state, name):
    topo = state.topology()
    configure(topo, topo.hosts[name])
    _become(["sleep", "infinity"])


def redis(state):
    _become(apps.redis_command(state))


def app(state, name):
    """Ends when one of the applications does, and says which."""
    pop = state.topology().hosts[name]
    # The router owns this network; it may still be at work.
    if not wait_until(lambda: pop.addr4 in run(["ip", "-o", "addr", "show", "dev", "lo"]).stdout, ADDRESS_SECONDS, 0.1):
        raise LabError(f"{name}: its router has not put {pop.addr4} on lo within {ADDRESS_SECONDS} s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    running = {}
    for role, argv in apps.commands(state, pop).items():
        process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, cwd=state.host_dir(name))
        running[process.pid] = role
    while True:
        pid, status = os.wait()
        if pid in running:
            print(f"{name}: {running[pid]} ended with {os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)
            return 1


def _become(argv):
    words = [str(word) for word in argv]
    os.execvp(words[0], words)


ROLES = {"prepare": prepare, "router": router, "client": client, "app": app, "redis": redis}
ROLES_WITHOUT_LAB = {"bgp": sidecar.bgp, "prefer": sidecar.prefer}


def main(argv):
    if not argv or argv[0] not in ROLES | ROLES_WITHOUT_LAB:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if argv[0] in ROLES_WITHOUT_LAB:
            return ROLES_WITHOUT_LAB[argv[0]](*argv[1:]) or 0
        return ROLES[argv[0]](State(), *argv[1:]) or 0
    except LabError as error:
        print(f"{argv[0]}: {error}", file=sys.stderr, flush=True)
        return 1
