"""A hub on loopback: the parts of the Hugging Face hub's protocol that priors need."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Hub:
    """Repositories in memory.

    Attributes:
        commits: files by repository and commit.
        refs: commit by repository and branch.
        requests: method and path of every request.
        replaced: content that is sent instead of a file's own, by path.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Files]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.replaced: Files = {}
        self.stored: dict[str, bytes] = {}
        self.address = ""

    def create(self, name: str) -> bool:
        """Make a repository with an empty first commit; false where it exists."""
        if name in self.refs:
            return False
        self.commits[name], self.refs[name] = {}, {}
        self.commit(name, "main", {})
        return True

    def commit(self, name: str, branch: str, files: Mapping[str, bytes]) -> str:
        """Add files to a branch and return the commit's hash."""
        before = self.commits[name].get(self.refs[name].get(branch, ""), {})
        after = {**before, **files}
        commit = sha1(f"{branch}{len(self.commits[name])}{sorted(after)}".encode()).hexdigest()
        self.commits[name][commit] = after
        self.refs[name][branch] = commit
        return commit

    def publish(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Make a repository, if need be, and commit files."""
        self.create(name)
        return self.commit(name, branch, files)


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer({r"/api/models/(\w+/[\w-]+)/revision/(.+)": self._info,
                      r"/api/models/(\w+/[\w-]+)/tree/(.+)": self._tree,
                      r"/(\w+/[\w-]+)/resolve/([^/]+)/(.+)": self._file})  # fmt: skip

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer({r"/api/repos/create": self._create,
                      r"/api/models/(\w+/[\w-]+)/branch/(.+)": self._branch,
                      r"/api/validate-yaml": lambda: {"warnings": [], "errors": []},
                      r"/api/models/(\w+/[\w-]+)/preupload/(.+)": self._modes,
                      r"/(\w+/[\w-]+)\.git/info/lfs/objects/batch": self._batch,
                      r"/api/models/(\w+/[\w-]+)/commit/(.+)": self._commit})  # fmt: skip

    def do_PUT(self) -> None:
        self._answer({r"/lfs/(\w+)": self._store})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, routes: Mapping[str, Callable[..., object]]) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers: dict[str, str] = {}
        try:
            found = ((re.fullmatch(pattern, path), work) for pattern, work in routes.items())
            match, work = next((pair for pair in found if pair[0]), (None, None))
            if match is None or work is None:
                raise _Refused(404, "")
            answer = work(*(unquote(group) for group in match.groups()))
            content, headers = answer if isinstance(answer, tuple) else (json.dumps(answer), {})
            status = 200
        except _Refused as error:
            status, content, headers = error.status, "{}", {"X-Error-Code": error.code}
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _at(self, name: str, revision: str) -> tuple[str, Files]:
        if name not in self.hub.refs:
            raise _Refused(404, "RepoNotFound")
        commit = self.hub.refs[name].get(revision, revision)
        if commit not in self.hub.commits[name]:
            raise _Refused(404, "RevisionNotFound")
        return commit, self.hub.commits[name][commit]

    def _info(self, name: str, revision: str) -> object:
        commit, files = self._at(name, revision)
        return {"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]}

    def _tree(self, name: str, revision: str) -> object:
        return [
            {"type": "file", "path": path, "size": len(content), "oid": sha1(content).hexdigest()}
            for path, content in self._at(name, revision)[1].items()
        ]

    def _file(self, name: str, revision: str, path: str) -> object:
        commit, files = self._at(name, revision)
        if path not in files:
            raise _Refused(404, "EntryNotFound")
        etag = f'"{sha1(files[path]).hexdigest()}"'
        return self.hub.replaced.get(path, files[path]), {"ETag": etag, "X-Repo-Commit": commit}

    def _create(self) -> object:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.hub.create(name):
            raise _Refused(409, "")
        return {"url": f"{self.hub.address}/{name}", "name": name}

    def _branch(self, name: str, branch: str) -> object:
        self.hub.refs[name].setdefault(branch, self.hub.refs[name]["main"])
        return {}

    def _modes(self, name: str, revision: str) -> object:
        self._at(name, revision)
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        large = [path.endswith(".safetensors") for path in paths]
        return {
            "files": [
                {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                for path, lfs in zip(paths, large, strict=True)
            ]
        }

    def _batch(self, name: str) -> object:
        objects = json.loads(self.body)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def _store(self, oid: str) -> object:
        assert sha256(self.body).hexdigest() == oid
        self.hub.stored[oid] = self.body
        return {}

    def _commit(self, name: str, branch: str) -> object:
        files: Files = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        commit = self.hub.commit(name, branch, files)
        return {"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub at a free port of loopback."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
