"""Servers and generators as child processes, each on its core, and none of them left behind."""

import ctypes
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

START_S_MAX = 20
STOP_S_MAX = 5
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
# What ends a run; it waits while a child is being made, which would else be nobody's.
ENDINGS = {signal.SIGINT, signal.SIGTERM}
CHILDREN = []


class Failed(Exception):
    """A server or a generator that didn't do its work."""


def free_port():
    """A port for servers that can't be told to take a free one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _on_cores(cores):
    """What a child does before it becomes its program."""

    def prepare():
        os.sched_setaffinity(0, cores)
        # Even a run that is killed leaves nobody behind.
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


def _spawn(command, cores, **more):
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            # A Ctrl-C is for the run alone, which then ends them in order.
            start_new_session=True,
            preexec_fn=_on_cores(cores),
            **more,
        )
        CHILDREN.append(child)
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


def _end(child):
    """Ends a child and what it started: asks first."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, kind)
        except ProcessLookupError:
            pass
        try:
            child.wait(STOP_S_MAX)
            break
        except subprocess.TimeoutExpired:
            continue


def end_all():
    """Ends whoever still runs."""
    for child in CHILDREN:
        if child.poll() is None:
            _end(child)


class Server:
    """A running server; `port` is the one that it was given, or said that it listens on."""

    def __init__(self, command, cores, folder, port=None):
        self.out = Path(folder) / "out.txt"
        with open(self.out, "wb") as out:
            self.process = _spawn(command, cores, cwd=folder, stdout=out, stderr=out)
        self.pid = self.process.pid
        try:
            self.port = self._wait(port)
        except BaseException:
            self.stop()
            raise

    def _wait(self, port):
        end = time.monotonic() + START_S_MAX
        while time.monotonic() < end:
            said = self.out.read_text(errors="replace")
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode}: {said.strip()[-300:]}")
            told = re.search(r"^listening on \S*?127\.0\.0\.1:(\d+)", said, re.MULTILINE)
            if port is None and told:
                port = int(told[1])
            if port is not None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return port
                except OSError:
                    pass
            time.sleep(0.02)
        raise Failed(f"doesn't listen after {START_S_MAX} s: {said.strip()[-300:]}")

    def stop(self):
        _end(self.process)


def generate(command, cores, seconds_max):
    """Runs the load generator to its end; gives what it found."""
    command = [*command, "--json", "-"]
    child = _spawn(command, cores, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, told = child.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired:
        raise Failed(f"the generator took more than {seconds_max} s: {command}") from None
    finally:
        if child.poll() is None:
            _end(child)
    try:
        return json.loads(out)
    except ValueError:
        raise Failed(told.strip()[-300:]) from None
