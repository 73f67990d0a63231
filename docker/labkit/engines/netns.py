"""The engine of network namespaces: everything on this machine, nothing but root needed."""
import contextlib
import subprocess
import threading

from .. import apps, bird, build, files, netns, procs, suture, wire
from ..errors import LabError
from ..netns import WIRES
from ..state import DOCKER, SOURCE
from . import Engine


class NetnsEngine(Engine):
    docker_dir = DOCKER

    def prepare(self, say):
        return str(build.prepare(say))

    def leftovers(self):
        return [f"namespace {netns.name(self.state, host)}" for host in netns.all_of(self.state)]

    def build(self, topo, settings, say):
        from .. import lifecycle  # which knows engines
        state = self.state
        making = threading.Thread(target=files.make, args=(state,))
        making.start()
        try:
            netns.create(state, WIRES)
            for host in topo.hosts.values():
                netns.create(state, host.name)
            for link in topo.links:
                netns.create_end(state, link, link.a)
                netns.create_end(state, link, link.b)
                wire.join(state, link)
            for host in topo.hosts.values():
                netns.configure_host(state, host)
            for host in topo.cores() + topo.pops():
                bird.write_config(state, topo, host, settings["preference"])
                bird.start(state, host.name)
            for host in topo.cores() + topo.pops():
                bird.wait_started(state, host.name)
            for core in topo.cores():
                for family, rules in bird.policy_rules(topo, core.name).items():
                    netns.ip_batch(state, core.name, rules, family)
            apps.make_keys(state)
            apps.start_redis(state)
            suture.make_certificates(state, topo, settings["suture"])
            for pop in topo.pops():
                apps.start_pop(state, pop)
                suture.write_config(state, topo, pop, settings)
        finally:
            making.join()
        # Peers find each other at once only if the routes between them are there; and the chat needs its way to Redis.
        lifecycle.wait_underlay(state, topo)
        for pop in topo.pops():
            apps.wait_pop(state, pop.name)
        for pop in topo.pops():
            self.start_suture(pop.name)

    def down(self):
        """By namespace, not by what the state file says."""
        for host in netns.all_of(self.state):
            with contextlib.suppress(LabError):
                procs.kill_namespace(self.state, host)
            netns.remove(self.state, host)

    def enter(self, host):
        return netns.enter(self.state, host)

    inside = enter

    def exec_words(self, host, command):
        return netns.enter(self.state, host) + command

    def network(self, host):
        return netns.path(self.state, host)

    def sysctl(self, host, values):
        netns.sysctl(self.state, host, values)

    def pid_of(self, host, role):
        return procs.spawned(self.state, host, role)

    def log_path(self, host, role):
        return self.state.dir / host / ("bird.out" if role == "bird" else f"{role}.log")

    def log_words(self, host, role, follow):
        path = self.log_path(host, role)
        if not path.exists():
            raise LabError(f"{host}: {role} has written no log yet")
        return ["tail", "-n", "+1", *(["-F"] if follow else []), str(path)]

    def power_off(self, topo, pop):
        procs.kill_namespace(self.state, pop)

    def power_on(self, topo, pop):
        state, host = self.state, topo.hosts[pop]
        procs.kill_namespace(state, pop)
        for link in host.links:
            # Not left to the namespace's end: orphaned sockets can keep it alive for minutes.
            netns.remove_device(state, WIRES, link.wire_device(pop))
        netns.remove(state, pop)
        netns.create(state, pop)
        for link in host.links:
            netns.create_end(state, link, pop)
            wire.join(state, link)
        netns.configure_host(state, host)

    def start_services(self, topo, pop):
        bird.start(self.state, pop)
        bird.wait_started(self.state, pop)
        apps.start_pop(self.state, topo.hosts[pop])
        apps.wait_pop(self.state, pop)

    def start_suture(self, pop):
        suture.spawn(self.state, pop)

    def wire_device(self, link, end):
        return link.wire_device(end)

    def wire_program(self):
        """What CMake built if it is newer than its source, else compiled here (a second, no dependencies)."""
        source = DOCKER / "wire" / "wire.c"
        built = SOURCE / "build" / "release" / "docker" / "suture_wire"
        own = self.state.dir / "suture_wire"
        for candidate in (built, own):
            if candidate.exists() and candidate.stat().st_mtime >= source.stat().st_mtime:
                return candidate
        done = subprocess.run(["cc", "-std=gnu11", "-O2", "-Wall", "-o", own, source], capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"cannot compile {source}: {done.stderr.strip()}")
        return own
