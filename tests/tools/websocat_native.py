"""The `websocat` beside this Python, and the native protocol: websocat_native.py URL.

A line of its standard input is a text frame, with the line feed, which JSON doesn't mind; a line of
its standard output is a frame that came.
"""

import pathlib
import select
import subprocess
import sys

import native_claims

WEBSOCAT = pathlib.Path(sys.executable).parent / "websocat"


class Peer:
    def __init__(self, url, exact=False):
        # Not for all: it sends an empty message behind each line.
        flags = ["--linemode-strip-newlines"] if exact else []
        self.process = subprocess.Popen(
            [WEBSOCAT, "--text", *flags, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.rest = b""

    def say(self, text):
        self.process.stdin.write(text.encode() + b"\n")

    def hear(self):
        out = self.process.stdout
        while b"\n" not in self.rest:
            assert select.select([out], [], [], 10)[0], "nothing came"
            more = out.read(65_536)
            assert more, "it has ended"
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def cut(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0

    def __del__(self):
        if self.process.poll() is None:
            self.cut()


native_claims.run(Peer)
