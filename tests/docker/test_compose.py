"""docker/compose.yml: what the lab's topology says, and clean for docker-compose."""
import shutil
import subprocess
import sys

import pytest
from conftest import SOURCE

sys.path.insert(0, str(SOURCE / "docker"))

from labkit import compose, topology  # noqa: E402

FILE = SOURCE / "docker" / "compose.yml"


def commands():
    found = [["docker-compose"]] if shutil.which("docker-compose") else []
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, stdin=subprocess.DEVNULL)
    return found + ([["docker", "compose"]] if plugin.returncode == 0 else [])


def test_the_file_is_what_the_topology_says():
    printed = subprocess.run([SOURCE / "docker" / "lab", "compose"], capture_output=True, text=True)
    assert printed.stdout == FILE.read_text(), "docker/lab compose > docker/compose.yml"


@pytest.mark.parametrize("pops", [2, 3, 5])
def test_config_is_clean(pops, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(compose.text(pops))
    assert commands(), "docker-compose or the docker client's compose plugin is wanted"
    for command in commands():
        done = subprocess.run([*command, "--project-directory", SOURCE / "docker", "-f", file, "config"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        for link in topology.Topology(pops).links:
            for address in (*link.addr4.values(), *link.addr6.values()):
                assert address in done.stdout
