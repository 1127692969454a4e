"""Python's `websockets` with permessage-deflate against /echo: websockets_deflate.py URL."""

import os
import sys

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

URL = sys.argv[1]

# What is offered, and whether compression is agreed on.
OFFERS = [
    ({}, True),
    ({"client_max_window_bits": True}, True),
    ({"client_max_window_bits": 10}, True),
    ({"server_no_context_takeover": True}, True),
    ({"client_no_context_takeover": True}, True),
    ({"server_max_window_bits": 15}, True),
    ({"server_max_window_bits": 12}, True),
    ({"server_max_window_bits": 11}, False),
    ({"server_max_window_bits": 8}, False),
]


def open_(offer):
    extensions = [ClientPerMessageDeflateFactory(**offer)]
    return connect(URL, proxy=None, extensions=extensions, compression=None, max_size=None)


def each_offer_is_answered():
    for offer, is_taken in OFFERS:
        with open_(offer) as socket:
            agreed = socket.protocol.extensions
            assert len(agreed) == is_taken, (offer, agreed)
            if is_taken:
                (deflate,) = agreed
                assert deflate.remote_no_context_takeover and deflate.local_no_context_takeover
            for message in ["hello", "", "grüße 🦀" * 900, b"", bytes(70_000), os.urandom(65_536)]:
                socket.send(message)
                assert socket.recv(timeout=10) == message


def fragments():
    with open_({}) as socket:
        parts = ["one, " * 100, "two, " * 100, "three"]
        socket.send(parts)
        assert socket.recv(timeout=10) == "".join(parts)


def no_utf8_once_inflated():
    with open_({}) as socket:
        socket.send(b"\xed\xa0\x80" * 200, text=True)
        try:
            socket.recv(timeout=10)
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1007, closed
        else:
            raise AssertionError("was echoed")


CLAIMS = [each_offer_is_answered, fragments, no_utf8_once_inflated]

for claim in CLAIMS:
    claim()
    print(claim.__name__)
print(f"{len(CLAIMS)} claims hold")
