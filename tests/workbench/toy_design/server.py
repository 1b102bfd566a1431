"""The smallest service: answers 200 to each GET, or ends at once when told to. Run as a file, with the standard library only."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    if os.environ.get("TOY_MOOD") == "broken":
        sys.exit("the toy is broken on purpose")
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
