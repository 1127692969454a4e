"""The machine: its two cores, what it is, and how much of it others used meanwhile."""

import os
import platform
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def two_cores():
    """A core for the server and one for the load generator, on which this process stays as well."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("versus: needs two cores, one for the server and one for the generator")
    os.sched_setaffinity(0, {cores[1]})
    return cores[0], cores[1]


def describe():
    """The machine in a line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " ".join(line.split(":", 1)[1].split())
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    cores = os.cpu_count()
    return f"{model}, {cores} cores, {memory} GiB, Linux {platform.release()}"


class ForeignLoad:
    """CPU time that others used since it was made: all that was used less what this process and its
    descendants, living or reaped, used."""

    def __init__(self):
        self.busy, self.idle = _all_ticks()
        self.ours = _our_ticks()

    def percent_of_a_core(self):
        busy, idle = _all_ticks()
        busy, idle, ours = busy - self.busy, idle - self.idle, _our_ticks() - self.ours
        ticks_of_a_core = (busy + idle) / os.cpu_count()
        return max(0.0, busy - ours) * 100 / ticks_of_a_core if ticks_of_a_core else 0.0


def _all_ticks():
    """Busy and idle ticks of all cores; stolen time is somebody else's, and so is busy."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[:8])
    return user + nice + system + irq + softirq + steal, idle + iowait


def _our_ticks():
    processes = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name, in parentheses, may hold blanks.
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # utime, stime, and the same of reaped children.
            processes[int(folder.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in processes.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return sum(processes[pid][1] for pid in ours if pid in processes)
