"""The lab's own interface (LAB.md): verbs, exit codes, status, routes that follow, side by side, nothing left behind."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess

import pytest
from kit_websocket import Library
from lab import LAB, VIP, Lab, wait_until
from labkit import files

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def left_of(name):
    """Everything that a lab of that name could leave on the host."""
    found = [str(path) for path in pathlib.Path("/run/netns").glob(f"{name}-*")]
    found += [str(root / name) for root in (pathlib.Path("/run/suture-lab"), pathlib.Path("/var/tmp/suture-lab"))
              if (root / name).exists()]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"/suture-lab/{name}/" in words or f"/run/netns/{name}-" in words:
            found.append(words.replace("\0", " "))
    return found


def who(lab, client, family):
    done = lab.curl(client, "--max-time", "5", lab.url(family, "/who"))
    return json.loads(done.stdout)["pop"] if done.returncode == 0 else None


def test_status_has_the_documented_keys(lab):
    status = lab.status()
    assert (status["vip4"], status["vip6"], status["engine"]) == (VIP[4], VIP[6], "netns")
    assert [pop["name"] for pop in status["pops"]] == ["pop1", "pop2", "pop3"]
    for number, pop in enumerate(status["pops"], 1):
        assert pop["underlay4"] == f"198.18.0.{number}" and pop["underlay6"] == f"fd00:5::{number}"
        assert pop["admin"] and pop["running"] is True and pop["announcing"] is True
    assert [(one["name"], one["routed_to"]) for one in status["clients"]] == [("client1", "pop1"), ("client2", "pop3")]
    assert all(one["addr4"] and one["addr6"] for one in status["clients"])
    assert [(one["port"], one["mode"]) for one in status["listeners"]] == [(80, "http"), (22, "tcp"), (9000, "http"), (9100, "tcp")]
    text = lab.ok("status")
    assert "pop2" in text and "client2" in text


@pytest.mark.parametrize("words, fragment", [
    ([], "VERB"), (["fly"], "invalid choice"), (["switch", "client1"], "required"),
    (["switch", "client1", "pop9"], "pop1, pop2, pop3"),
    (["switch", "pop1", "pop2"], "client1, client2"), (["kill", "client1"], "unknown pop"),
    (["exec", "nobody", "true"], "unknown host"),
    (["exec", "pop1"], "which command"), (["cut", "pop1", "pop1"], "same"), (["link", "client1", "--delay", "-1"], "0 or more"),
    (["flap", "client1", "0"], "not a time"), (["up", "--pops", "99"], "2 to"), (["up", "--config", "/nonexistent"], "/nonexistent"),
])
def test_wrong_commands_say_what_is_wrong_and_exit_2(lab, words, fragment):
    done = lab.run(*words)
    assert done.returncode == 2
    assert fragment in done.stderr and "Traceback" not in done.stderr


def test_what_cannot_be_done_exits_1(lab):
    done = lab.run("up")
    assert done.returncode == 1 and "is up already" in done.stderr
    done = Lab(f"{lab.name}none").run("status")
    assert done.returncode == 1 and "docker/lab up" in done.stderr
    lab.ok("crash", "pop2")
    done = lab.run("stop", "pop2")
    assert done.returncode == 1 and "does not run" in done.stderr
    done = lab.run("switch", "client1", "pop2")
    assert done.returncode == 1 and "does not announce" in done.stderr
    assert lab.routed_to("client1") == "pop1"


def test_up_shows_why_suture_refuses(new_lab, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("timeouts:\n  connect_ms: soon\n")
    lab = new_lab(up=False)
    done = lab.run("up", "--config", config)
    assert done.returncode == 1 and "connect_ms" in done.stderr
    assert left_of(lab.name) == []


def test_exec_passes_streams_and_status(lab):
    done = subprocess.run([str(LAB), "exec", "client1", "sh", "-c", "tr a-z A-Z; echo oops >&2; exit 7"], env=lab.environment,
                          input="through", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (7, "THROUGH", "oops\n")
    assert lab.run("exec", "core1", "redis-cli", "-h", "198.18.0.250", "ping").stdout.strip() == "PONG"


@FAMILIES
def test_event_stream_and_chat_at_every_pop(lab, family):
    for pop in ("pop1", "pop2", "pop3"):
        lab.ok("switch", "client1", pop)
        stream = lab.popen("client1", ["curl", "-sSgN", "-H", "Last-Event-ID: 7", lab.url(family, "/events?interval=20")],
                           stdout=subprocess.PIPE, text=True)
        said = [stream.stdout.readline() for _ in range(6)]
        assert said == ["id: 8\n", "data: number 8\n", "\n", "id: 9\n", "data: number 9\n", "\n"]
        stream.kill()
        ann = Library(lab, "client1", family, "/chat?name=ann")
        ann.say(1)
        ann.wait(lambda: ann.texts, "her own word")
        assert ann.opened[0][1] == pop and ann.texts[0].split(" ", 1)[1] == f"{pop} ann: 1"
        ann.close()


@FAMILIES
def test_switch_moves_each_client_by_itself(lab, family):
    for first, second in (("pop3", "pop2"), ("pop2", "pop1"), ("pop1", "pop3"), ("pop3", "pop1")):
        lab.ok("switch", "client1", first)
        lab.ok("switch", "client2", second)
        assert (who(lab, "client1", family), who(lab, "client2", family)) == (first, second)


@FAMILIES
def test_the_applications_are_the_same_everywhere(lab, family):
    seen = set()
    for pop in ("pop1", "pop2", "pop3"):
        lab.ok("switch", "client1", pop)
        head = lab.curl("client1", "-I", lab.url(family, "/100m")).stdout.lower()
        assert f"x-app-pop: {pop}" in head and "content-length: 104857600" in head
        seen.add(next(line for line in head.splitlines() if line.startswith("etag:")))
        done = lab.inside("client1", ["curl", "-sSg", lab.url(family, "/1m")], text=False)
        assert hashlib.sha256(done.stdout).hexdigest() == files.sha256(files.SIZES["1m"])
        done = lab.inside("client1", ["curl", "-sSg", "-T", "-", lab.url(family, "/upload")], stdin=None, input="x" * 300000)
        assert json.loads(done.stdout) == {"pop": pop, "bytes": 300000, "sha256": hashlib.sha256(b"x" * 300000).hexdigest()}
        done = lab.inside("client1", lab.ssh_words(family) + ["echo $SUTURE_POP"])
        assert done.stdout.strip() == pop
    assert len(seen) == 1 and 'W/' not in seen.pop()


def test_stop_start_drain_undrain(lab):
    lab.ok("drain", "pop1")
    assert not lab.pop("pop1")["announcing"] and lab.pop("pop1")["running"]
    assert lab.routed_to("client1") == "pop2"
    lab.ok("undrain", "pop1")
    assert wait_until(lambda: lab.routed_to("client1") == "pop1")
    lab.ok("stop", "pop1")
    assert not lab.pop("pop1")["announcing"] and lab.routed_to("client1") == "pop2"
    lab.ok("start", "pop1")
    assert lab.pop("pop1")["announcing"] and wait_until(lambda: lab.routed_to("client1") == "pop1")


@pytest.mark.parametrize("how", ["crash", "kill"])
def test_a_dead_pop_is_not_routed_to_and_start_brings_it_back(lab, how):
    lab.ok(how, "pop1")
    assert not lab.pop("pop1")["running"]
    wait_until(lambda: lab.routed_to("client1") == "pop2" and lab.routed_to("client1", 6) == "pop2")
    if how == "kill":
        assert lab.inside("pop1", ["true"]).returncode == 0
        assert lab.run("exec", "core1", "ping", "-c1", "-W1", "198.18.0.1").returncode != 0
    lab.ok("start", "pop1")
    wait_until(lambda: lab.routed_to("client1") == "pop1" and lab.routed_to("client1", 6) == "pop1")
    assert who(lab, "client1", 4) == who(lab, "client1", 6) == "pop1"


def test_freeze_and_thaw(lab):
    lab.ok("freeze", "pop2")
    assert lab.admin("pop2", "/healthz")[0] == 0
    lab.ok("thaw", "pop2")
    wait_until(lambda: lab.admin("pop2", "/healthz")[0] == 200)


def test_cut_and_mend_concern_the_underlay_only(lab):
    def pings(address):
        return lab.run("exec", "pop1", "ping", "-c1", "-W1", address).returncode == 0
    lab.ok("cut", "pop3", "pop1")
    assert lab.status()["cuts"] == [["pop1", "pop3"]]
    assert not pings("198.18.0.3") and not pings("fd00:5::3") and pings("198.18.0.2") and pings("fd00:5::2")
    assert who(lab, "client1", 4) == "pop1" and who(lab, "client2", 6) == "pop3"
    lab.ok("mend", "pop1", "pop3")
    assert pings("198.18.0.3") and pings("fd00:5::3")


def test_link_delays_loses_and_is_as_new_again(lab):
    def ping(count):
        out = lab.run("exec", "client1", "ping", "-q", "-i", "0.01", f"-c{count}", "-W1", VIP[4]).stdout
        return int(out.split(" received")[0].split()[-1]), float(out.split(" = ")[1].split("/")[0]) if " = " in out else None
    lab.ok("link", "client1", "--delay", "30")
    received, fastest = ping(5)
    assert received == 5 and 60 <= fastest < 120
    lab.ok("link", "client1", "--loss", "100")
    assert ping(5)[0] == 0
    lab.ok("link", "client1", "--delay", "5", "--jitter", "3", "--loss", "0.5", "--reorder", "2", "--rate", "200")
    done = lab.inside("client1", ["curl", "-sSg", lab.url(4, "/1m")], text=False)
    assert hashlib.sha256(done.stdout).hexdigest() == files.sha256(files.SIZES["1m"])
    lab.ok("link", "client1")
    received, fastest = ping(5)
    assert received == 5 and fastest < 10
    assert all(link["emulation"] is None for link in lab.status()["links"])


def test_link_survives_a_power_cut_of_its_host(lab):
    lab.ok("link", "pop1", "--delay", "20")
    lab.ok("kill", "pop1")
    lab.ok("start", "pop1")
    out = lab.ok("exec", "core1", "ping", "-q", "-c3", "-i", "0.05", "198.18.0.1")
    assert float(out.split(" = ")[1].split("/")[0]) >= 40


def test_capture_sees_the_access_link(lab):
    with lab.capture("client1", "tcp") as capture:
        assert who(lab, "client1", 4) and who(lab, "client1", 6)
    assert sorted((family, port) for family, _, port in capture.flows()) == [(4, 80), (6, 80)]
    assert capture.resets() == 0


def test_logs(lab):
    assert "ready" in lab.ok("logs", "pop1").lower() or lab.ok("logs", "pop1") != ""
    follower = subprocess.Popen([str(LAB), "logs", "pop1", "-f"], env=lab.environment, stdout=subprocess.PIPE, text=True)
    assert follower.stdout.readline() != ""
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) is not None


def test_flap_moves_until_interrupted(lab):
    flapping = subprocess.Popen([str(LAB), "flap", "client1", "0.5"], env=lab.environment, stdout=subprocess.PIPE, text=True)
    seen = [flapping.stdout.readline().split()[-1] for _ in range(3)]
    flapping.send_signal(signal.SIGINT)
    assert flapping.wait(10) == 0
    assert seen == ["pop2", "pop3", "pop1"]


def test_two_labs_side_by_side_and_two_pops(lab, new_lab, tmp_path):
    config = tmp_path / "extra.yaml"
    config.write_text("log: {level: debug}\npop2:\n  timeouts:\n    keep_alive_ms: 76000  # that one's only\n")
    other = new_lab("--pops", "2", "--config", config)
    assert [pop["name"] for pop in other.status()["pops"]] == ["pop1", "pop2"]
    assert other.routed_to("client2") == "pop2" and who(other, "client2", 6) == "pop2"
    other.ok("switch", "client1", "pop2")
    assert other.routed_to("client1") == "pop2" and lab.routed_to("client1") == "pop1"
    written = [(other.state.dir / pop / "suture.yaml").read_text() for pop in ("pop1", "pop2")]
    assert ["debug" in text for text in written] == [True, True] and ["76000" in text for text in written] == [False, True]
    other.ok("down")
    assert left_of(other.name) == []
    assert who(lab, "client1", 4) == "pop1"


@FAMILIES
def test_strict_reverse_path_checks_drop_a_foreign_pops_vip(strict_lab, family):
    """core1 routes its client's VIP to pop1; what pop2 sends from the VIP to that client must not pass there."""
    def counted():
        text = strict_lab.ok("exec", "core1", "nstat", "-asz", "TcpExtIPReversePathFilter")
        rules = strict_lab.ok("exec", "core1", "nft", "list", "ruleset")
        return int(text.split()[-2]) if family == 4 else int(rules.split("counter packets ")[1].split()[0])
    before = counted()
    strict_lab.run("exec", "pop2", "ping", "-c2", "-W1", "-I", VIP[family], "198.19.1.10" if family == 4 else "fd00:5:c1::10")
    assert counted() > before
    assert who(strict_lab, "client1", family) == "pop1"


@pytest.fixture(scope="module")
def strict_lab():
    one = Lab(f"e2e{os.getpid()}rpf")
    one.ok("up", "--strict-rpf", timeout=600)
    yield one
    one.ok("down")


def test_interrupted_up_leaves_nothing(new_lab):
    lab = new_lab(up=False)
    process = subprocess.Popen([str(LAB), "up"], env=lab.environment, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list(pathlib.Path("/run/netns").glob(f"{lab.name}-pop*")), 120)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert left_of(lab.name) == []


def test_down_after_a_crash_of_the_lab_itself_leaves_nothing(new_lab):
    lab = new_lab(up=False)
    process = subprocess.Popen([str(LAB), "up"], env=lab.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: (lab.state.dir / "pop3" / "nginx.pid").exists(), 120)
    process.kill()
    process.wait()
    done = lab.run("up")
    assert done.returncode == 1 and "down" in done.stderr
    lab.ok("down")
    assert left_of(lab.name) == []
    lab.ok("down")  # nothing to do is no mistake
