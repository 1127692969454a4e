"""What is measured: kinds of work, how much of it at a time, and which figure tells its price."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A figure of the generator's report, by any of these names, since its modes have their own."""

    keys: tuple
    divisor: float = 1
    # Of how many messages the generator counts as one: whether there are as many more, or it is as
    # much less for each.
    each: int = 0

    def of(self, found, messages):
        """The figure; nothing where nothing was measured, which the generator tells as 0."""
        value = next((found[key] for key in self.keys if found.get(key)), None)
        return None if value is None else value / self.divisor * messages**self.each


CPU_US = Figure(
    (
        "cpu_us_per_message",
        "cpu_us_per_delivery",
        "cpu_us_per_request",
        "cpu_us_per_publish",
    ),
    each=-1,
)
RATE = Figure(("acks_per_second",), each=1)
P50_MS = Figure(("latency_p50_us",), 1000)
BESIDE_P50_MS = Figure(("beside_latency_p50_us",), 1000)
BESIDE_P99_MS = Figure(("beside_latency_p99_us",), 1000)
BYTES = Figure(("pss_bytes_per_connection",))


@dataclass
class Scenario:
    """One column of a table."""

    name: str
    # Which of a contender's loads it takes.
    kind: str
    title: str
    flags: list
    # What is compared, and what stands beside it.
    figure: Figure = CPU_US
    beside: tuple = ()
    # Each round has new servers: memory that a round before has left to the allocator is taken again,
    # and counts for nobody.
    is_fresh: bool = False


@dataclass
class Table:
    """Scenarios whose figures stand side by side."""

    name: str
    title: str
    scenarios: list


WARM_UP = ["--warm-up", "0.2"]


def of_echo(name, in_flight):
    flags = ["--connections", "64", "--in-flight", str(in_flight), *WARM_UP]
    return Scenario(name, "echo", f"echo, {in_flight} in flight", flags)


def of_room(name, kind, members, publishers):
    way = "HTTP" if kind == "room-by-http" else "WebSocket"
    flags = ["--members", str(members), "--publishers", str(publishers), "--settle", "0.1"]
    return Scenario(name, kind, f"{members:,}; {publishers} by {way}", flags + WARM_UP)


def of_storing(kind, title, connections, in_flight):
    flags = ["--connections", str(connections), *WARM_UP]
    if in_flight:
        flags += ["--in-flight", str(in_flight)]
    return Scenario(kind, kind, title, flags, beside=(RATE, P50_MS))


def beside(name, members, publishers):
    room = of_room(name, "beside", members, publishers)
    room.flags += ["--beside", "1"]
    room.figure, room.beside = BESIDE_P99_MS, (BESIDE_P50_MS,)
    return room


TABLES = [
    Table(
        "echo",
        "CPU µs of the server a message or request: 64 connections, 64 bytes. Memory (PSS) of an idle "
        "WebSocket that is alone in a room, 10,000 of them; here it is also logged in as a user",
        [
            of_echo("echo-1", 1),
            of_echo("echo-32", 32),
            Scenario("get", "get", "GET", ["--connections", "64", *WARM_UP]),
            Scenario(
                "idle",
                "idle",
                "idle, bytes",
                ["--connections", "10000", "--settle", "0.5"],
                BYTES,
                is_fresh=True,
            ),
        ],
    ),
    Table(
        "room",
        "CPU µs of the server a delivery: 64 bytes of data, in the same envelope everywhere, to so many "
        "members; one message under way, or eight from as many connections",
        [
            of_room("room-1000-1", "room", 1000, 1),
            of_room("room-1000-8", "room", 1000, 8),
            of_room("http-1000-1", "room-by-http", 1000, 1),
            of_room("http-1000-8", "room-by-http", 1000, 8),
            of_room("room-10000-1", "room", 10000, 1),
        ],
    ),
    Table(
        "beside",
        "Milliseconds that one connection waits for its echo, p99 (range of the rounds' p99) and median, "
        "beside a room of so many members that is published to without pause",
        [
            beside("beside-1000-1", 1000, 1),
            beside("beside-10000-1", 10000, 1),
        ],
    ),
    Table(
        "stored",
        "CPU µs of the server a message that is answered once it is synced to disk; messages a second; "
        "median of the latency in ms. By HTTP here and at the floor, by their own protocols elsewhere",
        [
            of_storing("stored-one", "64 connections, one each in flight", 64, 1),
            of_storing("stored-batch", "8 connections, batches of 100", 8, None),
            of_storing("stored-socket", "4 connections, 16 each in flight (WebSocket)", 4, 16),
        ],
    ),
]
