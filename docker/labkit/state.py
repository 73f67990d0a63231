"""Where a lab keeps what it must remember: /run/suture-lab/NAME, and big files in /var/tmp/suture-lab/NAME."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil

from . import engines
from .errors import LabError, UsageError
from .topology import Topology

RUN_ROOT = pathlib.Path("/run/suture-lab")
DATA_ROOT = pathlib.Path("/var/tmp/suture-lab")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
DOCKER = SOURCE / "docker"


# What `up` may change, and what verbs do.
DEFAULTS = {"pops": 3, "engine": "netns", "strict_rpf": False, "suture": "", "config": {}, "pop_config": {}, "preference": {}, "cuts": []}


class State:
    def __init__(self, name=None):
        self.lab = name or os.environ.get("SUTURE_LAB") or "lab"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", self.lab):
            raise UsageError(f"SUTURE_LAB={self.lab}: a lab's name is 1 to 32 letters, digits, '_', '.' or '-'")
        self.dir = RUN_ROOT / self.lab
        self.data = DATA_ROOT / self.lab
        self._file = self.dir / "lab.json"
        self._engine = None

    def exists(self):
        return self._file.exists()

    def host_dir(self, host):
        path = self.dir / host
        path.mkdir(parents=True, exist_ok=True)
        return path

    def create(self, settings):
        for path in (self.dir, self.data):
            path.mkdir(parents=True, exist_ok=True)
        self.save(settings)

    def save(self, settings):
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(settings, indent=1))
        temporary.rename(self._file)

    def load(self):
        """The settings of `up`, with what verbs changed since (preferences, cuts)."""
        try:
            return json.loads(self._file.read_text())
        except FileNotFoundError:
            raise LabError(f"no lab '{self.lab}' is up (docker/lab up)") from None

    @property
    def engine(self):
        """What makes this lab's hosts; of a lab that is not up there is none."""
        if self._engine is None:
            self._engine = engines.make(self.load()["engine"], self)
        return self._engine

    def topology(self):
        return Topology(self.load()["pops"])

    def remove(self):
        self._engine = None
        for path, root in ((self.dir, RUN_ROOT), (self.data, DATA_ROOT)):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                root.rmdir()  # only when the last lab has gone

    @contextlib.contextmanager
    def lock(self):
        """One changing verb at a time; others wait. The file lies beside the lab's directory, which `down` removes."""
        RUN_ROOT.mkdir(parents=True, exist_ok=True)
        path = RUN_ROOT / f".{self.lab}.lock"
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if not self.dir.exists():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        RUN_ROOT.rmdir()
