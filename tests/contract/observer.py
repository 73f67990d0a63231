"""observe.bpf.c, compiled, loaded and attached: events(port) is what it saw of a flow, oldest first."""
import json
import pathlib
import struct
import types

from netns import run

SOURCE = pathlib.Path(__file__).with_name("observe.bpf.c")
NO_SOCKET, NOT_FULL, FULL = range(3)
FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV = 4, 5, 6, 7, 10, 12  # net/tcp_states.h
EVENTS_MAX = 256
ROUND, TUN_IFINDEX, TUN_PORT = 1, 2, 3  # indices of `words`


class Observer:
    def __init__(self, folder, name):
        run("clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-I/usr/include/x86_64-linux-gnu",
            "-c", SOURCE, "-o", folder / "observe.bpf.o")
        self._round = 0
        self.pins = pathlib.Path("/sys/fs/bpf") / name
        run("bpftool", "prog", "loadall", folder / "observe.bpf.o", self.pins, "type", "classifier", "pinmaps", self.pins)

    def attach(self, namespace, device, direction, program):
        with namespace:
            run("tc", "qdisc", "replace", "dev", device, "clsact")
            run("tc", "filter", "replace", "dev", device, direction, "prio", 1, "handle", 1, "bpf", "da",
                "object-pinned", self.pins / program)

    def put(self, index, value):
        run("bpftool", "map", "update", "pinned", self.pins / "words", "key", *struct.pack("I", index), "value", *struct.pack("I", value))

    def clear(self):
        """What was seen so far is forgotten."""
        self._round += 1
        self.put(ROUND, self._round)

    def events(self, port):
        dump = json.loads(run("bpftool", "-j", "map", "dump", "pinned", self.pins / "events"))
        seen = [types.SimpleNamespace(**one["formatted"]["value"]) for one in dump]
        seen = sorted((one for one in seen if one.round == self._round), key=lambda one: one.serial)
        assert len(seen) < EVENTS_MAX, "events were overwritten"
        return [one for one in seen if port in (one.sport, one.dport)]

    def close(self):
        for pin in self.pins.iterdir():
            pin.unlink()
        self.pins.rmdir()
