"""Those who are there while something is measured: members of rooms, and messages that are stored."""

import http.client
import selectors
import socket
import struct
import threading

from processes import Failed

ROOMS_OF_A_CONNECTION = 100  # a tidings allows no more
DRAIN_S = 0.05
PONG_S = 10
# Masked with zeros, unasked: whoever talks isn't pinged (RFC 6455 §5.5.3).
PONG = b"\x8a\x80\0\0\0\0"
BATCH = 1000


class Crowd:
    """Two members in each of so many rooms, who read what they get and say nothing; `enter` lets a
    socket in, of a number and its rooms."""

    def __init__(self, port, rooms, enter):
        self.port, self.enter = port, enter
        # Neighbouring rooms have other members: what comes next isn't warm from what was before.
        pairs = -(-rooms // ROOMS_OF_A_CONNECTION)
        self.rooms_of_pairs = [range(pair, rooms, pairs) for pair in range(pairs)]
        self.sockets = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._drain)

    def __enter__(self):
        try:
            for pair, rooms in enumerate(self.rooms_of_pairs):
                for side in "ab":
                    self.sockets.append(self.enter(self.port, f"{side}{pair}", rooms))
            self.thread.start()
            return self
        except BaseException:
            self._close()
            raise

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self._close()

    def _close(self):
        for one in self.sockets:
            one.close()

    def _drain(self):
        with selectors.DefaultSelector() as selector:
            for one in self.sockets:
                one.setblocking(False)
                selector.register(one, selectors.EVENT_READ)
            waited = 0
            while not self.stopped.wait(DRAIN_S):
                for key, _ in selector.select(0):
                    key.fileobj.recv(1 << 20)
                waited += DRAIN_S
                if waited >= PONG_S:
                    waited = 0
                    for one in self.sockets:
                        one.send(PONG)


def member(port, uid, rooms):
    """Somebody who is in these rooms of a tidings, which an `ok` tells."""
    query = "".join(f"&room=r{number}" for number in rooms)
    return upgraded(port, f"/ws?uid={uid}{query}", b'"type":"ok"')


def subscriber(port, _uid, _rooms):
    """A connection of the floor."""
    return upgraded(port, "/", b"\r\n\r\n")


def upgraded(port, path, awaited):
    """A WebSocket, once the awaited text came."""
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
    )
    wait_for(one, awaited)
    return one


def wait_for(one, awaited):
    """Reads until a text has come."""
    told = b""
    while awaited not in told:
        more = one.recv(65536)
        if not more or b'"type":"err"' in told:
            raise Failed(f"{awaited} didn't come: {told[-300:]}")
        told += more


def acknowledge(port, uid, rooms, offset):
    """Has a user acknowledge so much in each of these rooms, so that a resume misses the rest."""
    one = upgraded(port, f"/ws?uid={uid}", b'"type":"ok"')
    for room in rooms:
        commands = (
            f'[{{"type":"join","room":"{room}"}},'
            f'{{"type":"ack","channel":"{room}","offset":{offset}}},'
            f'{{"type":"leave","seq":1,"room":"{room}"}}]'
        )
        one.sendall(text_frame(commands.encode()))
        wait_for(one, b'"type":"ok","seq":1')
    one.close()


def text_frame(payload):
    """A client's frame with a mask of zeros (RFC 6455 §5.2)."""
    size = len(payload)
    head = (
        struct.pack(">BB", 0x81, 0x80 | size)
        if size < 126
        else struct.pack(">BBH", 0x81, 0xFE, size)
    )
    return head + bytes(4) + payload


def fill(port, message, rooms, each):
    """Stores so many messages in each of so many rooms; `message` has the room `bench`."""
    message = message.replace("{data}", '"' + "." * 62 + '"')
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked = [f"r{number}" for number in range(rooms) for _ in range(each)]
    for begin in range(0, len(asked), BATCH):
        batch = (message.replace("bench", room) for room in asked[begin : begin + BATCH])
        body = '{"messages":[' + ",".join(batch) + "]}"
        connection.request("POST", "/v1/messages/batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200 or b'"error"' in told:
            raise Failed(f"it wasn't stored: {answer.status} {told[-300:]}")
    connection.close()
