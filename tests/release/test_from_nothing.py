"""Two releases of one commit, each compiled from nothing: no ccache, no layer and no directory of the other. Slow: tests/run release."""
import hashlib
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
VERSION = (SOURCE / "VERSION").read_text().strip()
BUILD_SECONDS = 3600  # every file, on two busy cores
DEB = f"suture_{VERSION}_amd64.deb"
NAMES = {f"suture-{VERSION}.tar.gz", DEB, f"suture-{VERSION}.spdx.json", "SHA256SUMS"}


def run(*words, timeout=BUILD_SECONDS):
    done = subprocess.run([str(word) for word in words], cwd=SOURCE, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """[(directory, the program that its image holds)]"""
    made = []
    for number in (1, 2):
        to = tmp_path_factory.mktemp(f"release{number}")
        run("docker/release", "--dirty", "--from-nothing", to)
        program = to / "unpacked"
        run("dpkg-deb", "-x", to / DEB, program)
        made.append((to, program / "usr" / "bin" / "suture"))
    yield made
    run("docker/build", "runtime")  # the images are those of ccache's objects again: the next build's layers


def sum_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_program_is_the_same_bytes(releases):
    first, second = (sum_of(program) for _, program in releases)
    print(f"\nsuture {VERSION}: {first}")
    assert first == second, "compiled twice, two programs: diffoscope, or cmp -l, of the two .deb says where"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_release_is_the_same_bytes(releases, name):
    assert {path.name for path in releases[0][0].iterdir() if path.is_file()} == NAMES
    first, second = (sum_of(to / name) for to, _ in releases)
    print(f"\n{name}: {first}")
    assert first == second


def test_ccache_makes_no_difference(releases, tmp_path):
    """What users build without --from-nothing is what is released."""
    run("docker/release", "--dirty", tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (releases[0][0] / "SHA256SUMS").read_text()
