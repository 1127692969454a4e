"""Python's `websockets` against /echo: websockets_client.py URL."""

import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

URL = sys.argv[1]


def open_():
    return connect(URL, proxy=None, open_timeout=10, close_timeout=10)


def echoes(socket, message):
    socket.send(message)
    assert socket.recv(timeout=10) == message


def text_and_binary():
    with open_() as socket:
        assert socket.protocol.extensions == [], "compression was offered, and not taken"
        for message in ["hello", "", "grüße 🦀", b"", b"\xff\x00\xfe", bytes(70_000)]:
            echoes(socket, message)


def a_mebibyte():
    message = bytes(range(256)) * 4096
    with connect(URL, proxy=None, max_size=len(message)) as socket:
        echoes(socket, message)


def fragments():
    with open_() as socket:
        socket.send(["one, ", "two, ", "three"])
        assert socket.recv(timeout=10) == "one, two, three"


def ping():
    with open_() as socket:
        assert socket.ping().wait(timeout=10)


def close_codes():
    for code, reason in [(1000, ""), (1001, "away"), (4321, "my own")]:
        socket = open_()
        socket.close(code, reason)
        assert socket.protocol.close_code == code


def surrogates_are_no_text():
    with open_() as socket:
        socket.send(b"\xed\xa0\x80", text=True)
        try:
            socket.recv(timeout=10)
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1007, closed
        else:
            raise AssertionError("was echoed")


CLAIMS = [text_and_binary, a_mebibyte, fragments, ping, close_codes, surrogates_are_no_text]

for claim in CLAIMS:
    claim()
    print(claim.__name__)
print(f"{len(CLAIMS)} claims hold")
