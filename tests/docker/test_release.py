"""docker/release: the same bytes twice, a package that installs, a list of what the image holds that is true."""
import hashlib
import json
import re
import subprocess

import pytest
from conftest import BUILD_SECONDS, SOURCE, docker

VERSION = (SOURCE / "VERSION").read_text().strip()


@pytest.fixture(scope="module")
def releases(images, tmp_path_factory):
    """Two of them, made one after the other."""
    made = []
    for number in (1, 2):
        to = tmp_path_factory.mktemp(f"release{number}")
        done = subprocess.run([SOURCE / "docker" / "release", "--dirty", to], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stderr[-4000:]
        made.append(to)
    return made


def test_two_releases_of_one_commit_are_the_same_bytes(releases):
    names = {path.name for path in releases[0].iterdir()}
    assert names == {f"suture-{VERSION}.tar.gz", f"suture_{VERSION}_amd64.deb", f"suture-{VERSION}.spdx.json", "SHA256SUMS"}
    for name in names:
        assert (releases[0] / name).read_bytes() == (releases[1] / name).read_bytes(), name
    for line in (releases[0] / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((releases[0] / name).read_bytes()).hexdigest() == digest


def test_the_tarball_holds_what_git_knows(releases):
    listed = subprocess.run(["tar", "-tzf", releases[0] / f"suture-{VERSION}.tar.gz"], capture_output=True, text=True, check=True)
    held = {line.split("/", 1)[1] for line in listed.stdout.splitlines() if not line.endswith("/")}
    known = subprocess.run(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=SOURCE, capture_output=True, text=True, check=True)
    assert held == set(known.stdout.splitlines())


def test_the_package_installs_and_goes_again(releases):
    """Into the image that has the libraries: dpkg finds every dependency there, and the program starts. (A slim base's dpkg leaves
    documentation out; and on fuse-overlayfs the image's own /usr/bin/suture comes to light again when the package's goes.)"""
    deb = f"suture_{VERSION}_amd64.deb"
    script = f"""set -e
rm /usr/bin/suture && userdel suture
dpkg -i /release/{deb}
suture --version
getent passwd suture
test -f /lib/systemd/system/suture.service
grep -q '^ExecStart=/usr/bin/suture ' /lib/systemd/system/suture.service
cd / && grep -v ' usr/share/doc/' /var/lib/dpkg/info/suture.md5sums >/tmp/sums && test -s /tmp/sums && md5sum -c --quiet /tmp/sums
dpkg -r suture
! dpkg -s suture 2>/dev/null
test ! -e /lib/systemd/system/suture.service"""
    done = docker("run", "--rm", "--network", "none", "--user", "0", "-v", f"{releases[0]}:/release:ro", "--entrypoint", "sh",
                  f"suture:{VERSION}", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"suture {VERSION}" in done.stdout
    depends = subprocess.run(["dpkg-deb", "-f", releases[0] / deb, "Depends"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\blibgrpc\+\+1\.51\b", depends) and re.search(r"\blibbpf1\b", depends), depends


def test_the_bill_of_materials_is_what_the_image_holds(releases):
    bill = json.loads((releases[0] / f"suture-{VERSION}.spdx.json").read_text())
    assert bill["spdxVersion"] == "SPDX-2.3"
    listed = {(one["name"], one["versionInfo"]) for one in bill["packages"] if one["name"] != "suture"}
    asked = docker("run", "--rm", "--network", "none", "--entrypoint", "dpkg-query", f"suture:{VERSION}", "-W", "-f", "${Package} ${Version}\n")
    assert listed == {tuple(line.split()) for line in asked.stdout.splitlines()} and len(listed) > 50
    ids = [one["SPDXID"] for one in bill["packages"]]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in ids)
    assert {one["relatedSpdxElement"] for one in bill["relationships"]} == set(ids)
    program = docker("run", "--rm", "--network", "none", "--entrypoint", "sha256sum", f"suture:{VERSION}", "/usr/bin/suture").stdout.split()[0]
    assert [one for one in bill["packages"] if one["name"] == "suture"][0]["checksums"][0]["checksumValue"] == program


def test_a_version_that_the_changelog_does_not_know_is_refused(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{SOURCE}", clone], check=True)
    (clone / "VERSION").write_text("9.9.9\n")
    done = subprocess.run([clone / "docker" / "release", tmp_path / "out"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1 and "CHANGELOG.md says nothing of 9.9.9" in done.stderr
