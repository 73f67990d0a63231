"""Installs and builds what is missing: quiet when all goes well, the log when not."""
import os
import re
import subprocess
import time

from . import suture
from .errors import LabError
from .state import DOCKER, SOURCE

PROGRESS_SECONDS = 10


def prepare(say):
    """Packages, then the release build. SUTURE_BIN names another binary (the sanitizer build) and skips the build."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces: it needs root")
    if not os.path.exists("/dev/net/tun"):
        raise LabError("/dev/net/tun does not exist; make it: mkdir -p /dev/net; mknod /dev/net/tun c 10 200; modprobe tun")
    if subprocess.run([str(DOCKER / "install")], stdin=subprocess.DEVNULL).returncode != 0:
        raise LabError("cannot install the packages above")
    if not os.environ.get("SUTURE_BIN"):
        _build(say)
    program = suture.binary()
    if not os.access(program, os.X_OK):
        raise LabError(f"{program} does not exist or cannot be run")
    return program


def _build(say):
    directory = SOURCE / "build" / "release"
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "lab-build.log"
    if not suture.binary().exists():
        say(f"building suture: several minutes on two cores, the first time (log: {log})")
    cache = {"CCACHE_BASEDIR": str(SOURCE), "CCACHE_NOHASHDIR": "1"}  # as in tests/run
    with open(log, "w") as out:
        for command in (["cmake", "--preset", "release"], ["ninja", "-C", str(directory)]):
            process = subprocess.Popen(command, cwd=SOURCE, env={**os.environ, **cache, "NINJA_STATUS": "[%f/%t] "},
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True, errors="replace")
            _follow(process, out, say)
            if process.wait() != 0:
                raise LabError(f"{' '.join(command)} failed", log)


def _follow(process, out, say):
    """Copies what the build says into the log, and says every few seconds how far ninja is: [done/all]."""
    due = time.monotonic() + PROGRESS_SECONDS
    for line in process.stdout:
        out.write(line)
        out.flush()
        step = re.match(r"\[\d+/\d+\]", line)
        if step and time.monotonic() >= due:
            say(f"  {step[0]}")
            due = time.monotonic() + PROGRESS_SECONDS
