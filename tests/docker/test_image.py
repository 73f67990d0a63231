"""The runtime image: what is in it and what is not, and what a container says that cannot do its work."""
import json
import re
import subprocess

import pytest
from conftest import SOURCE, docker

SIZE_MAX = 120_000_000
CONFIG = """
node: {{id: 1, name: pop1, underlay: [{underlay}], interfaces: [{interface}]}}
vips: [203.0.113.10]
listeners:
  - port: 80
    mode: http
    upstream: ${{APP:-127.0.0.1:8080}}
peers:
  - id: 2
    underlay: 198.18.0.2
    statesync: 198.18.0.2:7100
statesync: {{listen: "{underlay}:7100", cert_file: /pki/pop1.pem, key_file: /pki/pop1.key, ca_file: /pki/ca.pem}}
"""


def start(home, *words, config=CONFIG, interface="eth0", underlay="127.0.0.1"):
    """(exit status, last line of the log) of a container that must end by itself."""
    (home / "suture.yaml").write_text(config.format(interface=interface, underlay=underlay))
    done = docker("run", "--rm", "-v", f"{home}/pki:/pki:ro", "-v", f"{home}/suture.yaml:/etc/suture/suture.yaml:ro", *words, "suture")
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def test_size_labels_user_health_and_stop_signal(images):
    shown = json.loads(docker("image", "inspect", "suture").stdout)[0]
    assert shown["Size"] < SIZE_MAX
    config = shown["Config"]
    assert (config["User"], config["StopSignal"]) == ("suture", "SIGTERM")
    assert config["Healthcheck"]["Test"] == ["CMD", "suture", "healthcheck"]
    version = (SOURCE / "VERSION").read_text().strip()
    head = subprocess.run(["git", "-C", SOURCE, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    assert config["Labels"]["org.opencontainers.image.version"] == version
    revision = config["Labels"]["org.opencontainers.image.revision"]
    if head.returncode == 0:  # not in a tarball
        assert revision.removesuffix("-dirty") == head.stdout.strip()
    said = docker("run", "--rm", "suture", "--version").stdout.strip()
    assert said == f"suture {version}" + (f" (revision {revision})" if revision else "")


def test_no_compiler_and_no_library_missing(images):
    done = docker("run", "--rm", "--entrypoint", "sh", "suture", "-c", "command -v cc gcc g++ c++ clang ld make ninja cmake; ldd /usr/bin/suture")
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("/usr/bin/")], done.stdout
    assert any("libgrpc" in line for line in lines) and "not found" not in done.stdout


def test_it_is_not_root_and_the_file_may_what_the_container_may(images):
    done = docker("run", "--rm", "--cap-drop", "ALL", "--entrypoint", "grep", "suture", "-E", "^(Uid|CapEff)", "/proc/self/status")
    assert re.search(r"^Uid:\t10001\t10001", done.stdout, re.M) and re.search(r"^CapEff:\t0+$", done.stdout, re.M)


def test_healthcheck_without_a_suture(images):
    done = docker("run", "--rm", "suture", "healthcheck")
    assert done.returncode == 1 and "healthcheck" in done.stderr


# --- bad input: the last line says what is wrong and what would help, the exit status which kind it is

def test_missing_capability(home):
    status, said = start(home, "--cap-drop", "ALL", "--cap-add", "NET_RAW", "--cap-add", "NET_BIND_SERVICE")
    assert status == 77 and "CAP_NET_ADMIN" in said and "cap_add" in said, said


def test_no_configuration_file(images):
    done = docker("run", "--rm", "suture")
    assert done.returncode == 78 and "/etc/suture/suture.yaml" in done.stderr.splitlines()[-1], done.stderr


def test_mistake_in_the_configuration(home):
    status, said = start(home, config=CONFIG.replace("mode: http", "mode: htpp"))
    assert status == 78 and "htpp" in said and re.match(r"/etc/suture/suture.yaml:\d+: ", said), said


@pytest.mark.parametrize("value", ["localhost", "127.0.0.1:port", "127.0.0.1:99999"])
def test_malformed_environment_variable(home, value):
    status, said = start(home, "-e", f"APP={value}")
    assert status == 78 and value in said and "upstream" in said, said


def test_environment_variable_that_is_not_set(home):
    status, said = start(home, config=CONFIG.replace("{{APP:-127.0.0.1:8080}}", "{{APP}}"))
    assert status == 78 and "APP" in said, said


def test_certificate_of_another_node(home):
    status, said = start(home, config=CONFIG.replace("id: 1, name: pop1", "id: 3, name: pop3"))
    assert status == 78 and "issued for node 1" in said and "wanted that node's files" in said, said


def test_no_tun_device(home, capabilities):
    status, said = start(home, *capabilities)
    assert status == 1 and "/dev/net/tun" in said and "devices" in said, said


def test_read_only_sysctls_that_are_wrong(home, capabilities):
    """/proc/sys is read-only in containers; the devices that suture makes inherit conf.default."""
    words = [*capabilities, "--device", "/dev/net/tun", "--sysctl", "net.ipv4.conf.all.rp_filter=1", "--sysctl",
             "net.ipv4.conf.default.rp_filter=1"]
    status, said = start(home, *words)
    assert status == 1 and "rp_filter" in said and "sysctls" in said, said


def test_unknown_interface(home, capabilities):
    status, said = start(home, *capabilities, "--device", "/dev/net/tun", "--sysctl", "net.ipv4.conf.default.rp_filter=0",
                         interface="nowhere0")
    assert status == 1 and "nowhere0" in said and "node.interfaces" in said, said
