"""Servers on the loopback that shards are read from: HTTP with faults on demand, and an S3-compatible bucket."""

from __future__ import annotations

import base64
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CUT = 3000  # bytes after which a cut connection ends


class ShardServer(ThreadingHTTPServer):
    """Serves a folder. faults: by file name, what happens to its next requests, one after the other.

    "cut" closes the connection in the middle, "short" sends half as if it were all, "long" promises more than it sends,
    "slow" pauses, "stall" sends nothing, "other" sends other bytes of the same length, "500" and other numbers are a
    status. A last entry "for ever" repeats the one before it. login: user:password that is asked for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, ranges: bool = True, login: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges, self.login = folder, ranges, login
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.asked: list[tuple[str, str | None]] = []  # name and range of every request
        self.alias: str | None = None  # the file that is given for any name that is not there

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self, name: str) -> str:
        waiting = self.faults[name]
        if not waiting:
            return ""
        return waiting[0] if waiting[1:] == ["for ever"] else waiting.pop(0)

    def handle_error(self, request: Any, client_address: Any) -> None:  # a reader may leave
        pass


class _Handler(BaseHTTPRequestHandler):
    server: ShardServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        asked = self.headers.get("Range") if self.server.ranges else None
        self.server.asked.append((name, self.headers.get("Range")))
        fault = self.server.next_fault(name.rpartition("/")[2])
        login = base64.b64encode((self.server.login or "").encode()).decode()
        if self.server.login and self.headers.get("Authorization") != f"Basic {login}":
            return self._refuse(401)
        if fault.isdigit():
            return self._refuse(int(fault))
        if fault == "stall":
            time.sleep(2)
            return None
        path = self.server.folder / name
        if self.server.alias and not path.is_file():
            path = self.server.folder / self.server.alias
        if not path.is_file():
            return self._refuse(404)
        data = path.read_bytes()
        data = data[: len(data) // 2] if fault == "short" else data[:-2000] + b"\1" * 2000 if fault == "other" else data
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
        if start >= len(data) > 0:
            return self._refuse(416)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        body = data[start : end + 1]
        self.send_header("Content-Length", str(len(body) + (5000 if fault == "long" else 0)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[:CUT])
            time.sleep(0.05)  # so that it arrives
        elif fault == "slow":
            for at in range(0, len(body), 4096):
                self.wfile.write(body[at : at + 4096])
                time.sleep(0.01)
        else:
            self.wfile.write(body)
        if fault in ("cut", "long"):
            self.wfile.flush()
            self.close_connection = True

    def do_HEAD(self) -> None:
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[ShardServer]:
    """A server of a folder, for as long as the block goes on."""
    server = ShardServer(folder, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def bucket() -> Iterator[tuple[str, Any]]:
    """The endpoint of an S3-compatible server with an empty bucket `pairs`, and a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket="pairs")
    try:
        yield endpoint, client
    finally:
        server.stop()


def upload(client: Any, folder: Path, prefix: str) -> None:
    """Put every file of a folder into the bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket="pairs", Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
