"""The applications: nginx, its little application, the chat and sshd at every PoP, one Redis at core1."""
import pathlib
import re
import signal

from . import files, procs, topology
from .errors import LabError
from .state import DOCKER
from .system import run, wait_until

APP_PORT = 8081
REDIS_PORT = 6379
METRICS_PORT = 9181  # at the underlay address: what Prometheus asks
POP_ROLES = ["nginx", "app", "chat", "sshd"]


def _fill(name, values, target):
    text = (DOCKER / "apps" / name).read_text()
    target.write_text(re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text))


def ssh_dir(state):
    return state.dir / "ssh"


def make_keys(state):
    """One host key for all PoPs, one client key, and a client configuration: ssh -F …/ssh/config root@VIP."""
    directory = ssh_dir(state)
    directory.mkdir(exist_ok=True)
    for key in ("host_key", "client_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"suture-lab {key}", "-f", str(directory / key)])
    (directory / "authorized_keys").write_text((directory / "client_key.pub").read_text())
    host_key = (directory / "host_key.pub").read_text()
    (directory / "known_hosts").write_text(f"{topology.VIP4} {host_key}{topology.VIP6} {host_key}")
    (directory / "config").write_text(
        f"IdentityFile {directory}/client_key\nUserKnownHostsFile {directory}/known_hosts\nGlobalKnownHostsFile none\n"
        "IdentitiesOnly yes\nStrictHostKeyChecking yes\nBatchMode yes\nServerAliveInterval 0\n")


def _root_is_locked():
    try:
        return any(re.match(r"root:!", line) for line in pathlib.Path("/etc/shadow").read_text().splitlines())
    except OSError:
        return False


def commands(state, pop):
    """{role: argv} of a PoP's applications (a Host), with their configuration written out."""
    directory = state.host_dir(pop.name)
    (directory / "nginx").mkdir(exist_ok=True)
    _fill("nginx.conf", {"dir": directory, "pop": pop.name, "files": files.directory(state), "metrics": f"{pop.addr4}:{METRICS_PORT}",
                         "admin": f"127.0.0.1:{topology.ADMIN_PORT}"}, directory / "nginx.conf")
    # sshd without PAM refuses a locked root account; with PAM it takes the key.
    pam = "yes" if _root_is_locked() else "no"
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    _fill("sshd_config", {"ssh": ssh_dir(state), "pop": pop.name, "pam": pam}, directory / "sshd_config")
    return {
        "nginx": ["nginx", "-p", directory / "nginx", "-c", directory / "nginx.conf", "-e", "stderr"],
        "app": ["/usr/bin/python3", DOCKER / "apps" / "app.py", pop.name, APP_PORT],
        "chat": ["/usr/bin/python3", DOCKER / "apps" / "chat.py", pop.name, f"127.0.0.1:{topology.CHAT_PORT}",
                 f"{topology.REDIS}:{REDIS_PORT}"],
        "sshd": ["/usr/sbin/sshd", "-D", "-e", "-f", directory / "sshd_config"],
    }


def start_pop(state, pop):
    """Starts what does not run. Returns at once; `wait_pop` waits."""
    missing = [role for role in POP_ROLES if not procs.pid_of(state, pop.name, role)]
    for role, argv in commands(state, pop).items() if missing else ():
        if role in missing:
            procs.spawn(state, pop.name, role, argv)


def stop_pop(state, pop):
    for role in POP_ROLES:
        procs.end(state, pop, role)


def start_redis(state):
    procs.spawn(state, "core1", "redis", redis_command(state))


def redis_command(state):
    return ["redis-server", "--bind", topology.REDIS, "--port", REDIS_PORT, "--protected-mode", "no",
            "--save", "", "--appendonly", "no", "--dir", state.host_dir("core1")]


def listening(state, host, port):
    """Whether a TCP socket listens on that port in the host's namespace."""
    done = run(state.engine.enter(host) + ["ss", "-Hltn", f"sport = :{port}"], check=False)
    return bool(done.stdout.strip())


def wait_pop(state, pop):
    for role, port in (("nginx", 8080), ("app", APP_PORT), ("chat", topology.CHAT_PORT), ("sshd", 2222)):
        if not wait_until(lambda: listening(state, pop, port) or not procs.pid_of(state, pop, role), 15, 0.05) \
                or not procs.pid_of(state, pop, role):
            raise LabError(f"{pop}: {role} did not start", state.engine.log_path(pop, role))


def pause(state, pop, role, on):
    procs.send(state, pop, role, signal.SIGSTOP if on else signal.SIGCONT)
