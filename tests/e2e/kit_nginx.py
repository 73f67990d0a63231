"""A real nginx as a second reader of HTTP, without the lab: nginx in front of a recorder that notes what nginx passes on.

    pair = Pair(host)                          one namespace: suture at VIP:80, nginx behind it, the recorder behind nginx
    answers = pair.say(pair.suture, bytes)     all that comes back until the end; the client half-closes behind its bytes
    pair.read()                                [Message] that the recorder has got since the last read()
    pair.logged()                              [(status, request line)] of nginx' access log since the last logged()

nginx gets requests from suture and from the test alike. What it understands of one it passes on: method, target as it came,
fields, body; so the recorder's Message is nginx' reading of the bytes.
"""
import json
import re
import socket
import subprocess
from dataclasses import dataclass

from lab import VIP, wait_until
from labkit import suture

PATIENCE = 40

CONFIGURATION = """daemon off;
user root;
worker_processes 1;
pid @/nginx.pid;
error_log stderr crit;
events { worker_connections 512; }
http {
  log_format read escape=json '{"status": $status, "line": "$request"}';
  access_log @/access.log read;
  underscores_in_headers on;
  ignore_invalid_headers off;
  large_client_header_buffers 8 64k;
  client_header_buffer_size 64k;
  client_max_body_size 0;
  client_body_temp_path @/body; proxy_temp_path @/proxy;
  fastcgi_temp_path @/fastcgi; uwsgi_temp_path @/uwsgi; scgi_temp_path @/scgi;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:8080;
    location / {
      proxy_pass http://127.0.0.1:8099;
      proxy_http_version 1.1;
      proxy_ignore_client_abort on;
      proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Read-Version $server_protocol;
    }
  }
}
"""

RECORDER = r"""
import asyncio, hashlib, json, re, sys
out = open(sys.argv[1], "a", buffering=1)
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            fields = [line.split(":", 1) for line in lines]
            length = sum(int(value) for name, value in fields if name.lower() == "content-length")
            body = await reader.readexactly(length)
            method, target, _ = first.split(" ")
            print(json.dumps([method, target, [[name, value.strip(" ")] for name, value in fields], length,
                              hashlib.sha256(body).hexdigest()]), file=out)
            writer.write(b"HTTP/1.1 200 OK\r\nX-Recorded: 1\r\nContent-Length: 2\r\n\r\n" + (b"" if method == "HEAD" else b"ok"))
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 8099, limit=1 << 20)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

# What a proxy adds, what it takes away (docs/strictness.md), and what nginx writes anew for its own hop.
OWN = re.compile(r"via|x[-_]forwarded[-_].*|suture[-_].*|x-request-id|connection|keep-alive|proxy-connection|te|http2-settings|upgrade|"
                 r"content-length|transfer-encoding|expect|host|x-read-version|trailer")


@dataclass(frozen=True)
class Message:
    method: str
    target: str
    host: str
    fields: tuple  # ((name, value), ...) as they came, without OWN
    length: int
    sha256: str

    @classmethod
    def of(cls, line, drop=()):
        method, target, fields, length, digest = json.loads(line)
        host = [value for name, value in fields if name.lower() == "host"]
        assert len(host) <= 1, fields
        kept = tuple((name, value.strip("\t ")) for name, value in fields
                     if not OWN.fullmatch(name.lower()) and name.lower() not in drop)
        # In the absolute form the target's own authority counts (RFC 9112 section 3.2.2): another spelling of the same.
        return cls(method, target, re.sub(r":(80)?$", "", host[0].lower()) if host else "", kept, length, digest)


class Pair:
    def __init__(self, host):
        self.host = host
        self._read = self._logged = 0
        self.recorded, self.access = host.directory / "recorded", host.directory / "access.log"
        self.recorded.touch()
        configuration = host.directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.replace("@", str(host.directory)))
        recorder = host.popen("/usr/bin/python3", "-c", RECORDER, self.recorded, stdout=subprocess.PIPE)
        assert recorder.stdout.readline() == b"ready\n"
        with open(host.directory / "nginx.log", "wb") as log:
            self._nginx = host.popen("nginx", "-p", host.directory, "-c", configuration, "-e", "stderr", stdout=log, stderr=log)
        self.nginx, self.suture = ("127.0.0.1", 8080), (VIP[4], 80)
        wait_until(lambda: self._answers(self.nginx), PATIENCE, what=f"nginx answers: {(host.directory / 'nginx.log').read_text()}")
        peers = "peers:\n  - id: 2\n    underlay: 198.18.7.2\n    statesync: 198.18.7.2:7100\n"
        host.start(host.configuration(replace=[(peers, "")]))
        wait_until(lambda: self._answers(self.suture), PATIENCE, what="suture answers")
        self.read(), self.logged()

    def _answers(self, address):
        try:
            return b"X-Recorded" in self.say(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        except ConnectionRefusedError:
            return False

    def connect(self, address):
        kind = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        connection = suture.socket_in(f"/run/netns/{self.host.name}", kind)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        return connection

    def say(self, address, data, half_close=True):
        """All that comes back. A reset behind a refusal is its end as well."""
        with self.connect(address) as connection:
            answers = b""
            try:
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answers += part
            except (ConnectionResetError, BrokenPipeError):
                pass
            return answers

    def read(self, drop=()):
        data = self.recorded.read_bytes()
        data, self._read = data[self._read:], len(data)
        return [Message.of(line, drop) for line in data.decode().splitlines()]

    def logged(self):
        data = self.access.read_bytes()
        data, self._logged = data[self._logged:], len(data)
        return [(one["status"], one["line"]) for one in map(json.loads, data.decode("latin-1").splitlines())]

    def metric(self, name, *labels):
        done = self.host.run("curl", "-sS", "http://127.0.0.1:9180/metrics")
        assert done.returncode == 0, done.stderr
        return sum(float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()
                   if re.match(rf"{name}[{{ ]", line) and all(label in line for label in labels))


def statuses(answers):
    """Of the final responses in a client's stream; each has to have the length that it says. `None`: cut off."""
    found = []
    while answers:
        head, end, rest = answers.partition(b"\r\n\r\n")
        parts = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert parts, f"not a response: {answers[:200]!r}"
        if not end:
            return found + [None]
        status = int(parts[1])
        if status >= 200:
            found.append(status)
        length = re.search(rb"\r\nContent-Length: (\d+)", head, re.I)
        size = int(length[1]) if length and rest[:9] != b"HTTP/1.1 " and rest else 0
        answers = rest[size:]
    return found
