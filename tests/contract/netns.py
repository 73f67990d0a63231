"""Network namespaces: sockets keep the namespace that they were made in, so only making them needs a `with`.

    with namespace:                     the calling thread, and the children it starts, are inside
        sock = socket.socket()
    namespace.sysctl("net.ipv4.tcp_sack", 0)
"""
import ctypes
import os
import subprocess
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)  # Python has os.setns only since 3.12


def wait_until(condition, timeout=10, what="the condition"):
    """Polls until condition() is true; its value. Fails the test when `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not become true within {timeout} s (last: {value!r})"
        time.sleep(0.001)


def run(*words, **more):
    """A command that must succeed; its output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _enter(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    def __init__(self, name):
        self.name = name
        self._outer = []
        run("ip", "netns", "add", name)
        self._fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self.ip("link", "set", "lo", "up")
        # A new namespace inherits these from the host; the tests want the same everywhere.
        for key, value in {"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
                           "net.ipv4.tcp_congestion_control": "reno", "net.ipv4.tcp_timestamps": 1,
                           "net.ipv4.tcp_sack": 1, "net.ipv4.tcp_window_scaling": 1}.items():
            self.sysctl(key, value)

    def __enter__(self):
        self._outer.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _enter(self._fd)
        return self

    def __exit__(self, *_):
        outer = self._outer.pop()
        _enter(outer)
        os.close(outer)

    def ip(self, *words):
        return run("ip", "-n", self.name, *words)

    def nft(self, text):
        with self:
            run("nft", text)

    def sysctl(self, key, value=None):
        """Sets a value, or reads it. /proc/sys/net shows the namespace of the thread that opens it."""
        with self, open("/proc/sys/" + key.replace(".", "/"), "r" if value is None else "w", encoding="ascii") as file:
            return file.read().strip() if value is None else file.write(f"{value}\n")

    def delete(self):
        os.close(self._fd)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
