"""Python's `websockets` and the native protocol: websockets_native.py URL."""

import socket

import native_claims
from websockets.sync.client import connect


class Peer:
    def __init__(self, url, exact=False):
        del exact  # It always is.
        self.socket = connect(url, proxy=None, open_timeout=10, close_timeout=10)

    def say(self, text):
        self.socket.send(text)

    def hear(self):
        return self.socket.recv(timeout=10)

    def cut(self):
        self.socket.socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.socket.close(1000)
        assert self.socket.protocol.close_code == 1000


native_claims.run(Peer)
