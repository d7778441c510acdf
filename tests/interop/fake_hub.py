"""A hub on this machine: as much of the HTTP API as the real client, huggingface_hub, needs to push and to fetch.

Repositories are kept in memory. Nothing here reaches the network, and the client is told to ask nobody else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_a_test"


@dataclass
class Repository:
    """Branches of files, each branch with the name of its newest commit."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def at(self, revision: str) -> str | None:
        """The branch that a revision means, a branch or its newest commit."""
        if revision in self.branches:
            return revision
        return next((branch for branch, commit in self.commits.items() if commit == revision), None)


class FakeHub(ThreadingHTTPServer):
    """The server: what it holds, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repository: str, revision: str = "main", **files: bytes) -> Repository:
        """Puts files into a repository; `model__safetensors` stands for model.safetensors."""
        kept = self.repositories.setdefault(repository, Repository())
        kept.branches.setdefault(revision, {}).update(
            {name.replace("__", "."): content for name, content in files.items()}
        )
        kept.commits[revision] = hashlib.sha1(
            f"{repository} {revision} {len(self.asked)}".encode()
        ).hexdigest()
        return kept


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A server for as long as the block lasts."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        return None if found is not None and found.private and not self._may_write() else found

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(match[1], match[2] or "main")
        else:
            self._refuse(404, "NotImplementedHere")

    def _branch(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self._repository(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
            return None
        branch = repository.at(revision)
        if branch is None:
            self._refuse(404, "RevisionNotFound")
            return None
        return repository, branch

    def _file(self, name: str, revision: str, file: str) -> None:
        found = self._branch(name, revision)
        if found is None:
            return
        repository, branch = found
        commit = {"X-Repo-Commit": repository.commits[branch]}
        if file not in repository.branches[branch]:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", **commit})
            return
        content = repository.branches[branch][file]
        self._answer(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', **commit})

    def _info(self, name: str, revision: str) -> None:
        found = self._branch(name, revision)
        if found is not None:
            repository, branch = found
            files = [{"rfilename": file} for file in repository.branches[branch]]
            self._answer(200, {"id": name, "sha": repository.commits[branch], "siblings": files})

    def do_POST(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self._body()
        path = self.path.partition("?")[0]
        if not self._may_write():
            self._refuse(401, "Unauthorized")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/([^/]+)", path):
            repository = self.server.repositories.get(match[1])
            if repository is None:
                self._refuse(404, "RepoNotFound")
            elif match[2] == "branch":
                self._make_branch(repository, match[3])
            elif match[2] == "preupload":
                files = json.loads(body)["files"]
                modes = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files
                ]
                self._answer(200, {"files": modes})
            else:
                self._commit(match[1], repository, match[3], body)
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        else:
            self._refuse(404, "NotImplementedHere")

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if name.startswith("forbidden/"):
            self._refuse(403, "Forbidden")
        elif name in self.server.repositories:
            self._answer(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
        else:
            private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
            self.server.repositories[name] = Repository(private)
            self._answer(200, {"url": f"{self.server.url}/{name}", "id": name})

    def _make_branch(self, repository: Repository, branch: str) -> None:
        if branch in repository.branches:
            self._answer(409, {"error": "Reference already exists"})
        else:
            repository.branches[branch] = dict(repository.branches["main"])
            repository.commits[branch] = repository.commits["main"]
            self._answer(201, {})

    def _commit(self, name: str, repository: Repository, branch: str, body: bytes) -> None:
        entries = [json.loads(line) for line in body.splitlines()]
        for entry in entries:
            if entry["key"] == "file":
                value = entry["value"]
                assert value["encoding"] == "base64"
                repository.branches[branch][value["path"]] = base64.b64decode(value["content"])
        commit = hashlib.sha1(body).hexdigest()
        repository.commits[branch] = commit
        url = f"{self.server.url}/{name}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})
