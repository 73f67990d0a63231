"""The lab's own processes: started in a namespace and a session of their own, remembered by pid and start time."""
import contextlib
import os
import pathlib
import signal
import subprocess

from . import netns
from .errors import LabError
from .system import wait_until


def start_time(pid):
    """Clock ticks since boot at which `pid` started; None if there is no such living process. Tells a reused pid apart."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def make_realtime():
    # BFD and the wire keep time in tens of milliseconds; a busy machine must not make them late.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))


def spawn(state, host, role, argv, log=None, env=None, realtime=False, cwd=None):
    """Starts argv as a process of the host; output goes to `log` (default: HOST/ROLE.log). Returns the pid."""
    directory = state.host_dir(host)
    log = log or directory / f"{role}.log"
    with open(log, "ab") as out:
        process = subprocess.Popen(
            state.engine.inside(host) + [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, **(env or {})}, start_new_session=True, cwd=cwd or directory,
            preexec_fn=make_realtime if realtime else None)
    (directory / f"{role}.pid").write_text(f"{process.pid} {start_time(process.pid) or 0}")
    return process.pid


def pid_of(state, host, role):
    """The living process of that role, or None."""
    return state.engine.pid_of(host, role)


def spawned(state, host, role):
    """The living process that spawn() started for that role, or None."""
    try:
        pid, started = (int(word) for word in (state.dir / host / f"{role}.pid").read_text().split())
    except (OSError, ValueError):
        return None
    return pid if started and start_time(pid) == started else None


def send(state, host, role, signal_number):
    pid = pid_of(state, host, role)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)
    return True


def gone(pid, timeout=5):
    """Waits for the end of pid."""
    if pid is None:
        return True
    started = start_time(pid)

    def check():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return started is None or start_time(pid) != started
    return wait_until(check, timeout)


def end(state, host, role, timeout=5):
    """SIGTERM, then SIGKILL."""
    pid = pid_of(state, host, role)
    if pid is None:
        return
    send(state, host, role, signal.SIGTERM)
    if not gone(pid, timeout):
        send(state, host, role, signal.SIGKILL)
        gone(pid)


def kill_namespace(state, host):
    """SIGKILL for everything that lives in a namespace. Repeats: a process may fork while it is being listed."""
    def kill_round():
        pids = netns.pids(state, host)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not pids
    if not wait_until(kill_round, 10, 0.02):
        raise LabError(f"{host}: processes {netns.pids(state, host)} do not die")
