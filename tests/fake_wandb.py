"""Test doubles for wandb: a reader of its offline files and a server that stores what it receives."""

import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 32 * 1024  # wandb's files are LevelDB logs: blocks of chunks; each chunk has a header of checksum, length and type
WHOLE_OR_LAST = (1, 4)


def records(path):
    """The records of a `.wandb` file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, chunks = path.read_bytes(), 7, []
    assert data.startswith(b":W&B")
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # padding: too short for a header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if kind == 0:  # the rest of this block was never written
            place += BLOCK - place % BLOCK
            continue
        chunks.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in WHOLE_OR_LAST:
            yield Record.FromString(b"".join(chunks))
            chunks = []


class Offline:
    """The contents of a folder of an offline run: `run`, `config`, `rows`, `summary`, `pictures`, `exit_code` (None if it never ended)."""

    def __init__(self, folder):
        self.config, self.rows, self.summary, self.pictures, self.exit_code = {}, [], {}, {}, None
        self.step_metrics, self.kinds = [], set()
        (path,) = folder.glob("*.wandb")
        for record in records(path):
            kind = record.WhichOneof("record_type")
            self.kinds.add(kind)
            if kind == "run":
                self.run = record.run
                lay(self.config, record.run.config.update)
            elif kind == "config":
                lay(self.config, record.config.update)
            elif kind == "history":
                row = lay({}, record.history.item)
                pictures = row.pop("figures", {})
                self.pictures |= {name: (folder / "files" / picture["path"]).read_bytes() for name, picture in pictures.items()}
                if not pictures:
                    self.rows.append(own(row))
            elif kind == "summary":
                lay(self.summary, record.summary.update)
            elif kind == "metric":
                self.step_metrics.append((record.metric.glob_name, record.metric.step_metric))
            elif kind == "exit":
                self.exit_code = record.exit.exit_code
        self.config = own(self.config)


def lay(values, items):
    """Update nested values with the items of a record. A key is a path; `figures/density` is split into a path as well."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        if path == [] and last.startswith("figures/"):
            path, last = last.split("/")[:1], last.split("/")[1]
        elif path and path[0].startswith("figures/"):
            path = [*path[0].split("/"), *path[1:]]
        inner = values
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = json.loads(item.value_json)
    return values


def own(values):
    """The values without the keys that wandb adds."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


class Server(ThreadingHTTPServer):
    """The part of wandb's server that a run needs: `runs[id]` has `rows`, `summary`, `files`, `exit_code` and the upserted fields."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address):
        """Ignores errors of connections that the client has closed."""

    def graphql(self, name, given):
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "somebody"}}
        run = self.runs.get(given.get("name"))
        if name == "RunResumeStatus":
            return {"model": project | {"bucket": run and self.resumed(given["name"], run)}}
        if name == "UpsertBucket":
            run = self.runs.setdefault(given["name"], {"rows": [], "summary": {}, "files": {}})
            run |= {key: value for key, value in given.items() if value is not None}
            bucket = {"id": given["name"], "name": given["name"], "displayName": run["displayName"], "config": run["config"]}
            bucket |= {"project": project, "historyLineCount": len(run["rows"])}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{given['run']}/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def resumed(self, name, run):
        facts = {"id": name, "name": name, "displayName": run["displayName"], "config": run["config"], "tags": run.get("tags", [])}
        facts |= {"summaryMetrics": json.dumps(run["summary"]), "historyLineCount": len(run["rows"]), "wandbConfig": '{"t": 1}'}
        facts |= {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "historyTail": json.dumps([json.dumps(run["rows"][-1])])}
        return facts | {"notes": None}

    def stream(self, run, sent):
        for name, part in sent.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                assert part["offset"] == len(run["rows"])
                run["rows"] += lines
            elif name == "wandb-summary.json":
                run["summary"] = lines[-1]
        if sent.get("complete"):
            run["exit_code"] = sent["exitcode"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.graphql(asked.get("operationName"), asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.server.runs[self.path.split("/")[-2]], json.loads(body))
        self.answer(answer)

    def do_PUT(self):
        run, _, name = self.path.removeprefix("/upload/").partition("/")
        self.server.runs[run]["files"][name] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_GET(self):
        self.answer({})

    def answer(self, data):
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Prints nothing."""
