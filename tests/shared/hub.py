"""A stand-in of the Hugging Face hub's API, as far as a push and a download of a model ask it."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_" + "standin" * 5
COMMIT = "c" * 40


class Hub:
    """Its repositories by name, each with `private` and `files` (bytes by name); what was asked of it, in order."""

    def __init__(self):
        self.repositories, self.asked, self.blobs, self.may_write = {}, [], {}, True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                path, size = urlsplit(self.path).path, int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b"".join(iter(self.chunk, b""))
                hub.asked.append((self.command, path))
                status, content, headers = hub.answer(self.command, path, body, self.headers.get("Authorization"))
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": len(content)} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def chunk(self):
                content = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return content

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, path, body, authorization):
        """(status, JSON or bytes, headers) of a request."""
        if path.startswith("/blob/"):  # an address of storage, which needs no token
            oid = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            self.blobs[oid] = body
            return 200, {}, {}
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}, {}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "somebody", "auth": {}}, {}
        if path == "/api/validate-yaml":
            return self.judged(json.loads(body)["content"])
        if method != "GET" and method != "HEAD" and not self.may_write:
            return 403, {"error": "You don't have the rights"}, {}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}, {}
            private = asked.get("visibility", "public") == "private" or asked.get("private", False)
            self.repositories[name] = SimpleNamespace(private=private, files={})
            return 200, {"url": f"{self.url}/{name}", "name": name}, {}
        found = re.match(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?(?:/|$)(.*)", path)
        name, rest = found.groups()
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        return self.of_repository(name, self.repositories[name], rest, body)

    def judged(self, card):
        """What the hub says of a card's metadata: the types of some of its keys."""
        metadata = yaml.safe_load(card.split("---\n")[1])
        wrong = [
            key for key in ("license", "pipeline_tag", "library_name") if not isinstance(metadata.get(key, ""), str)
        ]
        for model in metadata.get("model-index", []):
            for result in model["results"]:
                wrong += [key for key in ("task", "dataset") if "type" not in result[key]]
                wrong += [metric["type"] for metric in result["metrics"] if "value" not in metric]
        errors = [{"message": f'"{key}" is wrong'} for key in wrong]
        return (400 if errors else 200), {"errors": errors, "warnings": []}, {}

    def of_repository(self, name, repository, rest, body):
        about = {"id": name, "sha": COMMIT, "private": repository.private, "tags": [], "downloads": 0, "likes": 0}
        about["siblings"] = [{"rfilename": file} for file in repository.files]
        if rest in ("", "revision/main", f"revision/{COMMIT}"):
            return 200, about, {}
        if rest.startswith("preupload/"):
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".gguf")) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in files
            ]
            return 200, {"files": modes}, {}
        if rest == "info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.url}/blob/{one['oid']}"}}
            return 200, {"transfer": "basic", "objects": objects}, {}
        if rest.startswith("commit/"):
            for line in body.splitlines():
                kind, value = json.loads(line).values()
                if kind == "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                elif kind == "lfsFile":
                    repository.files[value["path"]] = self.blobs[value["oid"]]
            address = f"{self.url}/{name}/commit/{COMMIT}"
            return 200, {"success": True, "commitOid": COMMIT, "commitUrl": address}, {}
        if rest.startswith("tree/"):
            files = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in repository.files.items()
            ]
            return 200, files, {}
        content = repository.files.get(re.sub("^resolve/[^/]+/", "", rest))
        if content is None:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        return 200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
