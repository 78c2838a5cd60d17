"""A stand-in for the Hugging Face Hub: the part of its HTTP API that gsjax needs."""

import base64
import hashlib
import http.server
import json
import re

TOKEN = "hf_writer"


class Hub(http.server.ThreadingHTTPServer):
    """Keeps repositories in memory.

    Attributes:
      commits: by repository: its commits, each with its files, the newest last.
      private: names of repositories that only TOKEN reads.
      asked: method and path of each request.
      down: whether each request is answered with status 503.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name, files):
        """Commits files on top of those that are there; returns the commit."""
        commits = self.commits.setdefault(name, {})
        content = (list(commits.values()) or [{}])[-1] | files
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = content
        return commit


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/?]+))?(?:\?.*)?", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        match = api or file
        if not match:
            return self.answer(404)
        name, revision = match[1], match[2] or "main"
        if name not in self.server.commits or (name in self.server.private and not self.writes()):
            return self.answer(401, error="RepoNotFound")
        if name in self.server.gated:
            return self.answer(403, error="GatedRepo")
        commits = self.server.commits[name]
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return self.answer(404, error="RevisionNotFound")
        if api:
            siblings = [{"rfilename": file} for file in commits[commit]]
            return self.answer(200, {"id": name, "sha": commit, "siblings": siblings})
        if file[3] not in commits[commit]:
            return self.answer(404, error="EntryNotFound", commit=commit)
        return self.answer(200, commits[commit][file[3]], commit=commit)

    do_HEAD = do_GET

    def do_POST(self):
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.writes():
            return self.answer(401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            if name in self.server.commits:
                return self.answer(409, {"url": f"{self.server.url}/{name}"})
            self.server.add(name, {})
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.private.add(name)
            return self.answer(200, {"url": f"{self.server.url}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        match = re.match(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path)
        if not match:
            return self.answer(404)
        if match[2] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        commit = self.server.add(match[1], files)
        url = f"{self.server.url}/{match[1]}/commit/{commit}"
        return self.answer(200, {"commitUrl": url, "commitOid": commit})

    def writes(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, status, content=b"", error=None, commit=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Code", error)
        if commit:
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass
