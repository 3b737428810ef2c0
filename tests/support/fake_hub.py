"""The part of the Hugging Face Hub's protocol that pushing and fetching files takes, on the loopback.

    with serve() as hub:
        hub.address          # HF_ENDPOINT
        hub.repos["org/a"]   # files of the last commit, by name

Note:
    Every file is sent within the commit (`uploadMode: regular`); there is one branch, and its commits keep the files
    they had.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What it holds, and what was asked of it."""

    address: str = ""
    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def repos(self) -> dict[str, dict[str, bytes]]:
        return {name: commits[-1][1] for name, commits in self.commits.items()}

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        told = hashlib.sha1(repr((repo, len(self.commits.setdefault(repo, [])), sorted(files))).encode()).hexdigest()
        self.commits[repo].append((told, files))
        return told

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self.commits.get(repo, [])
        if revision == "main":
            return found[-1] if found else None
        return next((one for one in found if one[0] == revision), None)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def say(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def tell(self, value: Any, code: int = 200) -> None:
            self.say(code, json.dumps(value).encode(), Content_Type="application/json")

        def missing(self, what: str) -> None:
            self.say(404, b'{"error": "not found"}', X_Error_Code=what, X_Error_Message="not found")

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.asked.append(f"POST {path}")
            if self.headers.get("Authorization") != "Bearer secret":
                return self.say(401, b'{"error": "log in"}', X_Error_Message="log in")
            if path == "/api/repos/create":
                told = json.loads(body)
                repo = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
                hub.private.setdefault(repo, bool(told.get("private")) or told.get("visibility") == "private")
                if repo in hub.commits:
                    return self.tell({"error": "it is there", "url": f"{hub.address}/{repo}"}, 409)
                hub.commit(repo, {".gitattributes": b""})
                return self.tell({"url": f"{hub.address}/{repo}"})
            if path == "/api/validate-yaml":  # of a card's head
                return self.tell({"errors": [], "warnings": []})
            _, _, _, org, name, verb, *_ = path.split("/")
            if verb == "preupload":
                asked = json.loads(body)["files"]
                modes = [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for one in asked
                ]
                return self.tell({"files": modes})
            if verb == "commit":
                files = dict(hub.repos[f"{org}/{name}"])
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "deletedFile":
                        files.pop(value["path"])
                told = hub.commit(f"{org}/{name}", files)
                address = f"{hub.address}/{org}/{name}/commit/{told}"
                return self.tell({"success": True, "commitOid": told, "commitUrl": address, "hookOutput": ""})
            self.missing("EntryNotFound")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if fnmatch.fnmatch(path, "/api/models/*"):
                _, _, _, org, name, *rest = path.split("/")
                found = hub.at(f"{org}/{name}", rest[1] if len(rest) > 1 else "main")
                if found is None:
                    return self.missing("RepoNotFound")
                names = [
                    {"rfilename": file, "path": file, "type": "file", "size": len(data), "oid": ""}
                    for file, data in found[1].items()
                ]
                if rest and rest[0] == "tree":
                    return self.tell(names)
                return self.tell({"id": f"{org}/{name}", "sha": found[0], "siblings": names, "private": False})
            org, name, _, revision, file = path.strip("/").split("/", 4)
            if f"{org}/{name}" not in hub.commits:
                return self.missing("RepoNotFound")
            found = hub.at(f"{org}/{name}", revision)
            if found is None:
                return self.missing("RevisionNotFound")
            if file not in found[1]:
                return self.missing("EntryNotFound")
            data = found[1][file]
            self.say(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=found[0])

    return Handler


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub while the block goes on."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
