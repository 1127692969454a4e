"""What a run found, as Markdown: medians, ranges of the rounds, who is ahead, who isn't there."""

import datetime
import statistics

import machine
from contenders import WITHOUT_PROGRAM

# Who is never ahead, since nobody could be.
FLOOR = "floor"
OURS = ("tidings-1", "tidings-0", "tidings-2-reactors")


class Cell:
    """What the rounds of one contender in one scenario came to."""

    def __init__(self, scenario, load, rounds):
        self.scenario, self.load, self.rounds = scenario, load, rounds
        self.faults = sorted({fault for found in rounds for fault in faults(found)})
        self.figures = self._all(scenario.figure)

    def _all(self, figure):
        figures = (figure.of(found, self.load.messages) for found in self.rounds)
        return [figure for figure in figures if figure is not None]

    def median(self):
        return statistics.median(self.figures)

    def is_ahead_of(self, other):
        return bool(other and self.figures and other.figures) and self.median() < other.median()

    def shown(self):
        if not self.figures:
            return "failed"
        median, low, high = map(short, (self.median(), min(self.figures), max(self.figures)))
        parts = [f"{median} ({low}–{high})"]
        parts += [short(statistics.median(self._all(one))) for one in self.scenario.beside]
        return "; ".join(parts)


def faults(found):
    """What went wrong in a round, in words."""
    if "failed" in found:
        yield found["failed"]
    for kind, told in found.get("failures_by_kind", {}).items():
        yield f"{kind}: {told['first']}"
    for kind in ("lost", "repeated", "misordered", "stray"):
        if found.get(kind):
            yield f"{found[kind]:,} {kind}"


def short(figure):
    """Three digits that mean something."""
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def markdown(run, took_s):
    labels = {one.key: one.label for one in run.contenders}
    loads = {one.key: one.loads for one in run.contenders}
    parts = [heading(run, took_s)]
    for table, scenarios in run.tables():
        cells = {
            (scenario.name, key): Cell(scenario, loads[key][scenario.kind], rounds)
            for scenario in scenarios
            for key, rounds in run.rounds.get(scenario.name, {}).items()
        }
        parts.append(table_of(table, scenarios, cells, labels))
        parts += sentences(scenarios, cells, labels)
    missing = "; ".join([*run.missing, WITHOUT_PROGRAM])
    parts.append(f"Not there, and so not measured: {missing}.")
    return "\n\n".join(parts) + "\n"


def heading(run, took_s):
    versions = {one.name: one.version() for one in run.contenders}
    versions = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    conditions_ = conditions("benches/versus/run", run.flags, run.foreign, took_s)
    return f"{conditions_} Versions: {versions}."


def conditions(command, flags, foreign, took_s):
    """What was measured where and how, and how quiet it was there."""
    foreign = sorted(foreign) or [0]
    rounds = "one round" if flags.rounds == 1 else f"{flags.rounds} rounds"
    return (
        f"By `{command}` on {datetime.date.today()}: {machine.describe()}. The server has a core to "
        f"itself, the generator another one; {rounds} of {flags.seconds:g} s, in turns, "
        f"{took_s / 60:.1f} minutes in all. Medians, and in parentheses the lowest and the highest "
        f"round. Others on the machine used {statistics.median(foreign):.0f} % of a core (median of "
        f"all rounds; at most {foreign[-1]:.0f} %)."
    )


def table_of(table, scenarios, cells, labels):
    rows = []
    for key, label in labels.items():
        found = [cells.get((scenario.name, key)) for scenario in scenarios]
        if any(found):
            rows.append([label, *(cell.shown() if cell else "" for cell in found)])
    head = ["", *(scenario.title for scenario in scenarios)]
    return f"{table.title}.\n\n{markdown_table(head, rows)}"


def markdown_table(head, rows):
    """All columns but the first one are figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def sentences(scenarios, cells, labels):
    """Who is ahead of the default settings, what no worker would change, and what went wrong."""
    others = [key for key in labels if key not in (FLOOR, *OURS)]
    ahead = []
    for scenario in scenarios:
        default, alone = (cells.get((scenario.name, key)) for key in OURS[:2])
        for key in others:
            cell = cells.get((scenario.name, key))
            if cell and cell.is_ahead_of(default):
                figures = f"{short(cell.median())} beside {short(default.median())}"
                if min(default.figures) <= max(cell.figures):
                    figures += ", within the range of the rounds"
                if alone and alone.figures:
                    figures += f"; {short(alone.median())} without a worker"
                ahead.append(f"{labels[key]} at “{scenario.title}” ({figures})")
    if ahead:
        yield f"Ahead of tidings with its one worker: {', '.join(ahead)}."
    elif any((scenario.name, key) in cells for scenario in scenarios for key in others):
        yield "Nobody is ahead of tidings with its one worker here."
    wrong = [
        f"{labels[key]} at “{cell.scenario.title}”: {'; '.join(cell.faults)}"
        for (_, key), cell in cells.items()
        if cell.faults
    ]
    if wrong:
        yield f"What went wrong: {'. '.join(wrong)}."


def write(path, name, text):
    """Puts the text between the markers of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = path.read_text()
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"versus: {path.name} needs {begin} and {end}, each once")
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}")
