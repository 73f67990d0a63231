#!/usr/bin/python3
"""The application of the demo's power cut, behind VIP:9000: POP PORT ORDERS.  Standard library only.

  GET  /report?hold=POP         {"pop"}, at once; at the PoP named by `hold`, never
  POST /order?hold=POP&id=ID    the same; first appends ID to the file ORDERS, so that an order executed twice shows
"""
import http.server
import json
import sys
import threading
import urllib.parse

POP, PORT, ORDERS = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST":
            with open(ORDERS, "a") as file:
                file.write(query["id"] + "\n")
        if query.get("hold") == POP:
            threading.Event().wait()  # until the power goes
        body = json.dumps({"pop": POP}).encode()
        self.send_response(200)
        self.send_header("X-App-Pop", POP)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", PORT), Handler).serve_forever()
