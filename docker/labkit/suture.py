"""The suture process of each PoP: certificates, configuration, start, admin endpoint."""
import copy
import http.client
import json
import os
import pathlib
import signal
import socket

from . import procs, topology, yaml_subset
from .errors import LabError, UsageError
from .state import SOURCE
from .system import run, wait_until

ADMIN = f"127.0.0.1:{topology.ADMIN_PORT}"
STATESYNC_PORT = 7100


def binary():
    return pathlib.Path(os.environ.get("SUTURE_BIN") or SOURCE / "build" / "release" / "proxy" / "suture").resolve()


def make_certificates(state, topo, program):
    pki = state.dir / "pki"
    run([str(program), "pki", "init", str(pki)])
    for pop in topo.pops():
        run([str(program), "pki", "node", str(pki), pop.name, str(pop.number)])


def default_config(state, topo, pop, strict_rpf):
    pki = state.dir / "pki"
    peers = [{"id": peer.number, "name": peer.name, "underlay": peer.addr4, "statesync": f"{peer.addr4}:{STATESYNC_PORT}"}
             for peer in topo.pops() if peer is not pop]
    listeners = [{key: value for key, value in copy.deepcopy(entry).items() if key != "app"} for entry in topology.LISTENERS]
    return {
        "node": {"id": pop.number, "name": pop.name, "underlay": [pop.addr4, pop.addr6],
                 "interfaces": [link.other(pop.name) for link in pop.links]},
        "vips": [topology.VIP4, topology.VIP6],
        "listeners": listeners,
        "peers": peers,
        "statesync": {"listen": f"{pop.addr4}:{STATESYNC_PORT}", "cert_file": str(pki / f"{pop.name}.pem"),
                      "key_file": str(pki / f"{pop.name}.key"), "ca_file": str(pki / "ca.pem"), "sync_wait_ms": 2000},
        "datapath": {"return_path": "tunnel" if strict_rpf else "direct"},
        "announce": {"table": topology.ROUTE_TABLE, "protocol": topology.ROUTE_PROTOCOL},
        "health": {"type": "http", "target": "127.0.0.1:8080", "path": "/health", "interval_ms": 200, "timeout_ms": 1000},
        "admin": {"listen": ADMIN},
        "log": {"level": "info"},
    }


def merge(base, extra):
    """Mappings deeply; listeners by port and peers by id; every other list and scalar as a whole."""
    for key, value in (extra or {}).items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif key in ("listeners", "peers") and isinstance(value, list):
            identity = "port" if key == "listeners" else "id"
            for entry in value:
                known = next((one for one in base[key] if one.get(identity) == entry.get(identity)), None)
                if known is None:
                    base[key].append(entry)
                else:
                    merge(known, entry)
        else:
            base[key] = value
    return base


def read_overrides(path, pops):
    """--config FILE: ({} for all, {pop: {}} for one), the latter under a top-level key popN."""
    try:
        text = pathlib.Path(path).read_text()
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    common = yaml_subset.load(text, path)
    if not isinstance(common, dict):
        raise UsageError(f"--config {path}: expected a mapping, e.g. 'timeouts:'")
    single = {name: common.pop(name) for name in [f"pop{n}" for n in range(1, pops + 1)] if name in common}
    return common, single


def write_config(state, topo, pop, settings):
    config = default_config(state, topo, pop, settings["strict_rpf"])
    merge(config, copy.deepcopy(settings["config"]))
    merge(config, copy.deepcopy(settings["pop_config"].get(pop.name)))
    path = config_path(state, pop.name)
    path.write_text(f"# {pop.name} of the lab '{state.lab}', written by docker/lab\n{yaml_subset.dump(config)}\n")


def config_path(state, pop):
    return state.host_dir(pop) / "suture.yaml"


def log_path(state, pop):
    return state.engine.log_path(pop, "suture")


def spawn(state, pop):
    """Starts suture here; `ready` tells when it serves. A former process has to be gone."""
    program = state.load()["suture"]
    done = run([program, "run", "-c", str(config_path(state, pop)), "--check-config"], check=False)
    if done.returncode != 0:
        raise LabError(f"{pop}: suture refuses its configuration:\n{(done.stderr + done.stdout).strip()}")
    procs.spawn(state, pop, "suture", [program, "run", "-c", config_path(state, pop)])


def running(state, pop):
    return procs.pid_of(state, pop, "suture") is not None


class _NamespaceConnection(http.client.HTTPConnection):
    """Connects from inside a namespace: the socket belongs to where it was made, whoever uses it later."""

    def __init__(self, path, host, port, timeout):
        super().__init__(host, port, timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket_in(self._path, socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        self.sock.settimeout(self.timeout)
        self.sock.connect((self.host, self.port))


def socket_in(path, family, kind=socket.SOCK_STREAM):
    """A socket of the network namespace at `path`. One thread only: the caller visits the namespace for a moment."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(there, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), f"setns {path}")
        finally:
            os.close(there)
        try:
            return socket.socket(family, kind)
        finally:
            libc.setns(here, 0x40000000)
    finally:
        os.close(here)


def admin(state, pop, method, path, timeout=3):
    """(status, body) of the admin endpoint; (0, reason) if it does not answer."""
    try:
        connection = _NamespaceConnection(state.engine.network(pop), "127.0.0.1", topology.ADMIN_PORT, timeout)
    except LabError as error:  # no power, no network
        return 0, str(error)
    try:
        connection.request(method, path, headers={"Host": ADMIN, "Content-Length": "0"} if method == "POST" else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def stats(state, pop):
    """/stats as a value, or None."""
    status, body = admin(state, pop, "GET", "/stats")
    try:
        return json.loads(body) if status == 200 else None
    except ValueError:
        return None


def wait_ready(state, pop, timeout=30):
    def check():
        return admin(state, pop, "GET", "/readyz")[0] == 200 or not running(state, pop)
    wait_until(check, timeout, 0.03)
    status, body = admin(state, pop, "GET", "/readyz")
    if status == 200:
        return
    if not running(state, pop):
        raise LabError(f"{pop}: suture ended", log_path(state, pop))
    raise LabError(f"{pop}: not ready within {timeout} s: {body.strip()}", log_path(state, pop))


def request_stop(state, pop):
    """SIGTERM; remembered, so that `start` knows that a living process is on its way out."""
    if procs.send(state, pop, "suture", signal.SIGTERM):
        (state.dir / pop / "suture.stopping").write_text(str(procs.pid_of(state, pop, "suture")))


def stopping(state, pop):
    try:
        return (state.dir / pop / "suture.stopping").read_text() == str(procs.pid_of(state, pop, "suture"))
    except OSError:
        return False
