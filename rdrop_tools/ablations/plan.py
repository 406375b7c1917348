"""Reads the table of an ablation study, `examples/ablations/rows.txt`: trainings come of it."""

import fnmatch
import re
from pathlib import Path
from typing import NamedTuple

PLAIN = "plain"
RDROP = "rdrop"
COMPARISONS = ("plain", "plain, equal computing", "plain, larger batch", "R-Drop")
EQUAL = "equal"
NOTHING, BOTH = "-", "both"
SHARE_OF_UPDATES = re.compile(r"(\d+)%")
LARGER_BATCH = re.compile(r"--update-freq \d+")
OF_CRITERION = re.compile(
    r"--(?:no-cross-tuning|(?:reg-alpha|view-cutoff|rdrop-\S+|addrop-\S+) \S+)\s*"
)


class Row(NamedTuple):
    """A line of the table: how its trainings differ from the common settings."""

    name: str
    group: str
    corpora: tuple
    """Names that end with their number of training pairs: multi30k-5000."""
    method: str
    """plain, or what comes before `_label_smoothed_cross_entropy` in the name of the criterion."""
    passes: float
    """How often an update goes through a sentence, in the mean over the training."""
    updates: str
    """A multiple of the common number, or `equal`: with the training before, as much computing as
    two passes in that."""
    before: str
    """The training whose best checkpoint it begins with: NOTHING, PLAIN, or BOTH, the same on both
    directions at once."""
    arguments: str
    """Of fairseq-train; 25% stands for a quarter of the updates."""


class Plan(NamedTuple):
    """The whole table."""

    updates: int
    """The common number."""
    view_cost: float
    """The computing of a further pass; that of an update with one pass is 1."""
    rows: list


class Training(NamedTuple):
    """One row with one seed on one corpus."""

    row: Row
    corpus: str
    seed: int
    updates: int
    arguments: str
    """Of fairseq-train, the criterion among them."""
    updates_before: int = 0
    """Of the training before."""

    @property
    def settings(self):
        """What the CSV says of how it was trained."""
        if self.row.before == NOTHING:
            return self.arguments
        return f"{self.arguments}, after {self.updates_before} updates of {self.row.before}"

    @property
    def folder(self):
        """Where it is, below the folder of all."""
        return f"{self.corpus}/{self.row.name}-seed{self.seed}"


def read_plan(path):
    """Return the :class:`Plan` in a file.

    Raises ValueError, in a sentence for the user, if a line is none of such a table, or two rows
    have the same name.
    """
    settings, rows = {}, []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            if "|" in text:
                rows.append(_row(text))
            else:
                name, value = text.split()
                settings[name] = float(value)
        except (ValueError, TypeError):
            raise ValueError(f"line {number} of {path} is not a row or a setting: {text}") from None
    if set(settings) != {"updates", "view_cost"}:
        raise ValueError(f"{path} must set updates and view_cost, and nothing else.")
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path} has more than one row of the name {', '.join(sorted(twice))}.")
    return Plan(int(settings["updates"]), settings["view_cost"], rows)


def _row(text):
    name, group, corpora, method, passes, updates, before, arguments = map(
        str.strip, text.split("|")
    )
    if updates != EQUAL:
        float(updates)
    if before not in (NOTHING, BOTH, PLAIN) or (before, updates) == (BOTH, EQUAL):
        raise ValueError
    if not all(map(pairs_of, corpora.split())) or float(passes) < 1:
        raise ValueError
    corpora = tuple(corpora.split())
    return Row(name, group, corpora, method, float(passes), updates, before, arguments)


def pairs_of(corpus):
    """Return the number of training pairs, with which the name of a corpus ends."""
    return int(corpus.rpartition("-")[2])


def cost(plan, passes):
    """Return the computing of an update with so many passes, in updates with one."""
    return 1 + (passes - 1) * plan.view_cost


def updates_of(plan, row):
    """Return the number of updates of a row's trainings, without those of the training before."""
    if row.updates == EQUAL:
        left = cost(plan, 2) - (row.before == PLAIN)
        return round(plan.updates * left / cost(plan, row.passes))
    return round(plan.updates * float(row.updates))


def updates_before(plan, row):
    """Return the number of updates of the training before one of a row's."""
    return {NOTHING: 0, BOTH: updates_of(plan, row), PLAIN: plan.updates}[row.before]


def computing(plan, row):
    """Return the computing of one of a row's trainings, in trainings with one pass."""
    passes_before = 1 if row.before == PLAIN else row.passes
    own = updates_of(plan, row) * cost(plan, row.passes)
    return (own + updates_before(plan, row) * cost(plan, passes_before)) / plan.updates


def baselines(plan, row, corpus):
    """Return the names of the rows that a row is compared with, {one of COMPARISONS: name}.

    The first is the plain row whose settings are the row's own but for its method: `plain`, unless
    the row has another dropout, for example. The second is the nearest in computing, of the plain
    rows with these settings and those with none of their own. The third is the nearest of those
    that have nothing but a larger batch, if it is nearer than the first. The fourth is `rdrop`. No
    plain row has the last two.
    """
    of_corpus = [other for other in plan.rows if corpus in other.corpora]
    of_plain = [other for other in of_corpus if (other.method, other.before) == (PLAIN, NOTHING)]
    comparable = [*_alike(of_plain, row), *(other for other in of_plain if not other.arguments)]
    first = comparable[0] if comparable else row
    compared = [_nearest(plan, row, [first, *comparable])]
    if row.method != PLAIN:
        batches = [other for other in of_plain if LARGER_BATCH.fullmatch(other.arguments)]
        compared.append(_nearest(plan, row, [first, *batches]))
        compared += [other for other in of_corpus if other.name == RDROP]
    others = zip(COMPARISONS[1:], compared)
    named = {COMPARISONS[0]: first, **{name: other for name, other in others if other != first}}
    return {name: other.name for name, other in named.items() if other != row}


def _alike(of_plain, row):
    """Return the plain rows that have settings, and those of the row but for its method."""
    settings = "" if row.method == PLAIN else OF_CRITERION.sub("", row.arguments).strip()
    return [other for other in of_plain if other.arguments == settings != ""]


def _nearest(plan, row, rows):
    """Return the row whose computing is nearest to that of a row."""
    return min(rows, key=lambda other: abs(computing(plan, other) - computing(plan, row)))


def trainings(plan, seeds):
    """Return the trainings of all rows: all that have seed 1, then all that have seed 2, ..."""
    return [
        _training(plan, row, corpus, seed)
        for seed in range(1, seeds + 1)
        for row in plan.rows
        for corpus in row.corpora
    ]


def _training(plan, row, corpus, seed):
    updates = updates_of(plan, row)
    before = updates_before(plan, row)
    prefix = "" if row.method == PLAIN else f"{row.method}_"
    words = [
        str(round(updates * int(share[1]) / 100))
        if (share := SHARE_OF_UPDATES.fullmatch(word))
        else word
        for word in row.arguments.split()
    ]
    criterion = f"--criterion {prefix}label_smoothed_cross_entropy"
    return Training(row, corpus, seed, updates, " ".join([criterion, *words]), before)


def matching(trainings, pattern):
    """Return the trainings whose ROW or CORPUS/ROW fits a pattern, as of file names."""
    return [
        training
        for training in trainings
        if fnmatch.fnmatchcase(training.row.name, pattern)
        or fnmatch.fnmatchcase(f"{training.corpus}/{training.row.name}", pattern)
    ]
