"""A Hugging Face Hub on the loopback interface: only the requests that pushing and loading a model make."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants


class FakeHub(ThreadingHTTPServer):
    """`files` holds what was pushed, by repository and path; `requests` what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit_of(self, repo: str) -> str:
        content = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in self.files[repo].items())
        return hashlib.sha1(repr(content).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._note()
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            repo = "/".join(filter(None, [wanted.get("organization"), wanted["name"]]))
            self.server.files.setdefault(repo, {})
            self._json({"url": f"{self.server.url}/{repo}"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": file["path"], **modes} for file in json.loads(body)["files"]]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            repo = match[1]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[repo][line["value"]["path"]] = content
            oid = self.server.commit_of(repo)
            self._json({"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid})
        else:
            self._refuse("RepoNotFound")

    def do_GET(self) -> None:
        self._note()
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path.partition("?")[0])
        if not match or match[1] not in self.server.files:
            return self._refuse("RepoNotFound")
        repo, revision, path = match.groups()
        if revision not in ("main", self.server.commit_of(repo)):
            return self._refuse("RevisionNotFound")
        if path not in self.server.files[repo]:
            return self._refuse("EntryNotFound", commit=self.server.commit_of(repo))
        content = self.server.files[repo][path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.commit_of(repo))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def _note(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Send this process's Hub requests to a fake one."""
    with FakeHub() as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "not-a-token")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        try:
            yield hub
        finally:
            hub.shutdown()
