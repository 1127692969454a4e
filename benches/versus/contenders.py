"""Who is measured: how each is found and started, and how the generator speaks to it.

A contender says for each kind of work how it is loaded ([`Load`]), or nothing where it can't do
that. All of them run in one process, or one worker, on one core.
"""

import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from processes import Failed, Server, free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = ROOT / ".tools" / "versus"
MODULES = TOOLS / "node_modules"

DATA_SIZE = 64
# What a tidings delivers, so that the others deliver as many bytes.
ENVELOPE = (
    '{"type":"msg","channel":"bench","epoch":"db2m96","offset":12345,'
    '"id":"b19ad3c1f2a0-7d0-0-0-12345","from":"p0","ts":1796027904354,"data":{data}}'
)
ENVELOPE_SIZE = len(ENVELOPE) - len("{data}") + DATA_SIZE
# A message for a tidings, always as long, as the floor wants it.
MESSAGE = '{"to":{"room":"bench"},"data":{data}}'
BATCH_SIZE = 100
BATCH = '{"messages":[' + ",".join([MESSAGE] * BATCH_SIZE) + "]}"


@dataclass
class Load:
    """How the generator loads a server: its mode, the URL behind scheme and port, further flags."""

    mode: str
    path: str
    flags: list = field(default_factory=list)
    scheme: str = "ws"
    # Messages that the generator counts as one.
    messages: int = 1


def told_by(*command):
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout + told.stderr


def first_line(*command):
    return told_by(*command).strip().split("\n")[0]


def echo(path="/echo"):
    return Load("echo", path)


def get():
    return Load("http", "/healthz", scheme="http")


def room_by_frames(path, publish, *more):
    return Load("fanout", path, ["--publish-frame", publish, *more])


def stored(path, body, messages=1):
    """Requests that are answered once they are on disk; all of a size."""
    return Load("publish", "/", ["--publish-request", f"POST {path} {body}"], messages=messages)


def room_by_requests(path, *more):
    return Load("fanout", path, ["--publish-request", f"POST /publish {ENVELOPE}", *more])


class Tidings:
    """This server, with the settings that `tidings serve` has, but for reactors and workers."""

    name = "tidings"

    def __init__(self, program, workers, reactors=1):
        self.program, self.workers, self.reactors = program, workers, reactors
        self.key = f"tidings-{workers}"
        amount = "one worker" if workers == 1 else "no worker"
        self.label = f"**tidings**, {amount}"
        self.loads = {
            "echo": echo(),
            "room": Load("fanout", "/ws"),
            "room-by-http": Load("fanout", "/ws", ["--by", "http"]),
            "get": get(),
            "idle": Load("idle", "/ws?uid=u{member}&room=r{member}"),
            "beside": Load("fanout", "/ws"),
            "stored-one": stored("/v1/messages", MESSAGE),
            "stored-batch": stored("/v1/messages/batch", BATCH, BATCH_SIZE),
            "stored-socket": Load("publish", "/ws", ["--stored"]),
        }

    def missing(self):
        found = Path(self.program).is_file()
        return None if found else f"{self.program} isn't there: cargo build --release"

    def version(self):
        return first_line(self.program, "--version").split()[-1]

    def start(self, kind, folder, cores):
        data = folder if kind.startswith("stored") else "none"
        command = [self.program, "serve", "--listen", "127.0.0.1:0", "--data", data, "--echo"]
        command += [
            "--reactors",
            str(self.reactors),
            "--workers",
            str(self.workers),
            "--log-level",
            "error",
        ]
        return Server(command, cores, folder)


class TwoReactors(Tidings):
    """The same with a second reactor on the same core, for what waits for its turn."""

    def __init__(self, program):
        super().__init__(program, 1, 2)
        self.key = "tidings-2-reactors"
        self.label = "**tidings**, one worker, two reactors"
        self.loads = {"beside": self.loads["beside"]}


class Floor:
    """A bare epoll loop that makes the system calls of the work and does nothing else."""

    key = name = "floor"
    label = "floor (`bench raw`: reads, doesn't parse, answers)"

    def __init__(self, program):
        self.program = program
        self.loads = {
            "echo": echo("/"),
            "room": room_by_frames("/", ENVELOPE),
            "get": get(),
            "stored-one": stored("/", MESSAGE),
            "stored-batch": stored("/", BATCH, BATCH_SIZE),
        }

    def missing(self):
        return None  # it is the generator's own program, without which nothing runs

    def version(self):
        return None

    def start(self, kind, folder, cores):
        command = [self.program, "bench", "raw", "--listen", "127.0.0.1:0"]
        if kind.startswith("stored"):
            command += ["--data", folder]
        kinds = {"room": ["--fanout"], "get": ["--http"], "pairs": ["--in-turn", "2"]}
        command += kinds.get(kind, [])
        return Server(command, cores, folder)


class OfNode:
    """A server program for Node, beside this file."""

    def __init__(self, key, label, modules):
        self.key, self.name, self.label, self.modules = key, label, label, modules
        joining = ["--join-frame", "join"]
        self.loads = {
            "echo": echo(),
            "room": room_by_frames("/room", ENVELOPE, *joining),
            "room-by-http": room_by_requests("/room", *joining),
            "beside": room_by_frames("/room", ENVELOPE, *joining),
            "get": get(),
            "idle": Load("idle", "/room/{member}"),
        }

    def module(self):
        return next((path for path in self.modules if path.is_dir()), None)

    def missing(self):
        if not shutil.which("node"):
            return "no node on the PATH"
        return None if self.module() else "no package in .tools/versus: benches/versus/install"

    def version(self):
        package = (self.module() / "package.json").read_text()
        version = re.search(r'"version":\s*"([0-9.]+)', package)[1]
        return f"{version}, Node {first_line('node', '--version').lstrip('v')}"

    def start(self, _kind, folder, cores):
        program = HERE / self.key / "server.js"
        return Server(["node", program, self.module()], cores, folder)


class Bun(OfNode):
    """The same for Bun, whose server is part of it."""

    def __init__(self):
        super().__init__("bun", "Bun", [])

    def program(self):
        packed = MODULES / "@oven" / "bun-linux-x64" / "bin" / "bun"
        return shutil.which("bun") or (str(packed) if packed.is_file() else None)

    def missing(self):
        return None if self.program() else "no bun: benches/versus/install"

    def version(self):
        return first_line(self.program(), "--version")

    def start(self, _kind, folder, cores):
        return Server([self.program(), HERE / "bun" / "server.js"], cores, folder)


class Configured:
    """A server with a configuration file beside this one, in which blanks are filled in."""

    def configure(self, name, folder, **blanks):
        blanks["folder"] = folder
        text = (HERE / self.key / name).read_text()
        for blank, value in blanks.items():
            text = text.replace("{" + blank + "}", str(value))
        path = Path(folder) / name
        path.write_text(text)
        return path


class Nchan(Configured):
    """nginx with its module nchan: publishing is by HTTP only, and nothing is echoed."""

    key = "nchan"
    name, label = "nchan", "nchan (nginx)"

    def __init__(self):
        self.loads = {
            "room-by-http": room_by_requests("/room"),
            "get": get(),
            "idle": Load("idle", "/room/{member}"),
        }

    def module(self):
        found = re.search(r"--modules-path=(\S+)", told_by("nginx", "-V"))
        folders = [found[1]] if found else []
        paths = (Path(folder) / "ngx_nchan_module.so" for folder in folders)
        return next((path for path in paths if path.is_file()), None)

    def missing(self):
        if not shutil.which("nginx"):
            return "no nginx on the PATH"
        return None if self.module() else "nginx has no module nchan: libnginx-mod-nchan"

    def version(self):
        nginx = told_by("nginx", "-v").strip().split("/")[-1]
        package = first_line("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")
        nchan = re.match(r"(?:\d+:)?([0-9.]+)", package)
        return f"{nchan[1]}, nginx {nginx}" if nchan else f"nginx {nginx}"

    def start(self, _kind, folder, cores):
        port = free_port()
        blanks = {"module": self.module(), "port": port}
        config = self.configure("nginx.conf", folder, **blanks)
        return Server(["nginx", "-p", folder, "-c", config], cores, folder, port)


class Nats(Configured):
    """NATS: rooms by its own protocol over WebSocket, what is stored by TCP into JetStream."""

    key = "nats"
    name = label = "NATS"
    # The others of the room, and not oneself.
    CONNECT = 'CONNECT {"verbose":false,"echo":false}\r\n'

    def __init__(self):
        publish = f"PUB room {ENVELOPE_SIZE}\r\n{ENVELOPE}\r\n"
        join = self.CONNECT + "SUB room 1\r\nPING\r\n"
        joining = ["--join-frame", join, "--publishers-join", "--joined-marker", "PONG"]
        self.loads = {
            "room": room_by_frames("/", publish, *joining),
        }
        first = self.CONNECT + "SUB _INBOX.{publisher} 1\r\n"
        publish = f"PUB stored _INBOX.{{publisher}} {DATA_SIZE}\r\n{{data}}\r\n"
        flags = ["--first-bytes", first, *by_bytes(publish, '{"stream":', '{"error":')]
        self.loads |= by_tcp(flags)

    def program(self):
        packed = TOOLS / "python" / "bin" / "nats-server"
        return str(packed) if packed.is_file() else shutil.which("nats-server")

    def missing(self):
        return None if self.program() else "no nats-server: benches/versus/install"

    def version(self):
        return first_line(self.program(), "--version").split()[-1].lstrip("v")

    def start(self, kind, folder, cores):
        port, websocket_port = free_port(), free_port()
        blanks = {"port": port, "websocket_port": websocket_port}
        config = self.configure("nats.conf", folder, **blanks)
        command = [self.program(), "-c", config]
        if not kind.startswith("stored"):
            return Server(command, cores, folder, websocket_port)
        server = Server(command, cores, folder, port)
        self._make_stream(server)
        return server

    def _make_stream(self, server):
        """The stream that takes what is published to `stored`."""
        wish = '{"name":"stored","subjects":["stored"],"storage":"file","discard":"old"}'
        ask = f"SUB made 1\r\nPUB $JS.API.STREAM.CREATE.stored made {len(wish)}\r\n{wish}\r\n"
        try:
            told = ask_by_tcp(server.port, self.CONNECT + ask, b"stream_create_response")
        except Failed:
            server.stop()
            raise
        if b'"error"' in told:
            server.stop()
            raise Failed(f"no stream: {told[-300:]}")


class Redis(Configured):
    """Redis: what is stored goes into a stream, by its own protocol over TCP."""

    key = "redis"
    name = label = "Redis"

    def __init__(self):
        parts = ["XADD", "stored", "*", "data", "{data}"]
        sizes = [len(part) for part in parts[:-1]] + [DATA_SIZE]
        words = "".join(f"${size}\r\n{part}\r\n" for size, part in zip(sizes, parts))
        # The answer is the entry's id, a text with its size before it.
        flags = by_bytes(f"*{len(parts)}\r\n{words}", "$", "-ERR")
        # What comes in one read is synced once.
        batch = Load("publish", "/", [*flags, "--in-flight", str(BATCH_SIZE)])
        self.loads = by_tcp(flags) | {"stored-batch": batch}

    def missing(self):
        return None if shutil.which("redis-server") else "no redis-server on the PATH"

    def version(self):
        return re.search(r"v=([0-9.]+)", first_line("redis-server", "--version"))[1]

    def start(self, _kind, folder, cores):
        port = free_port()
        config = self.configure("redis.conf", folder, port=port)
        return Server(["redis-server", config], cores, folder, port)


def by_bytes(publish, taken, refused):
    return ["--publish-bytes", publish, f"--ack-bytes={taken}", f"--refusal-bytes={refused}"]


def by_tcp(flags):
    """What is stored by servers with a protocol of their own."""
    one = Load("publish", "/", flags)
    return {"stored-one": one, "stored-socket": one}


def ask_by_tcp(port, question, awaited):
    """Sends a question; gives what came until the awaited text was there."""
    told = b""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(5)
        connection.sendall(question.encode())
        while awaited not in told:
            try:
                more = connection.recv(65536)
            except OSError as error:
                raise Failed(f"no answer: {error}") from None
            if not more:
                raise Failed(f"it hung up: {told[-300:]}")
            told += more
    return told


# Whose programs aren't here, since what could not be tried isn't.
WITHOUT_PROGRAM = (
    "Swoole and GatewayWorker (in no package of Debian, npm or PyPI, so a program for them could not "
    "be tried, and isn't here)"
)


def all_of(program):
    """Everybody, the floor first and this server next."""
    uwebsockets = [MODULES / "uWebSockets.js", MODULES / "@trufflesuite" / "uws-js-unofficial"]
    return [
        Floor(program),
        Tidings(program, 0),
        Tidings(program, 1),
        TwoReactors(program),
        OfNode("uwebsockets", "uWebSockets.js", uwebsockets),
        Bun(),
        OfNode("ws", "`ws`", [MODULES / "ws"]),
        Nchan(),
        Nats(),
        Redis(),
    ]
