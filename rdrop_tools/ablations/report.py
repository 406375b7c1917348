"""The tables of an ablation study in Markdown, from its CSVs, and the README that shows them."""

import re
from statistics import mean

from rdrop_tools.ablations.plan import (
    COMPARISONS,
    baselines,
    computing,
    trainings,
    updates_of,
)
from rdrop_tools.ablations.results import gains_of, is_done
from rdrop_tools.ablations.significance import is_of
from rdrop_tools.runs.seed_scores import mean_and_spread

COLUMNS = (
    *("group", "row", "passes", "updates", "computing", "seeds", "best update"),
    *("valid BLEU", "test BLEU", "length ratio"),
    *(f"minus {comparison} (p)" for comparison in COMPARISONS),
)
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
PLACE = re.compile(rf"({BEGIN}\n).*?({END})", re.DOTALL)


def tables(plan, results, significance):
    """Return the text: a table for each corpus."""
    corpora = dict.fromkeys(corpus for row in plan.rows for corpus in row.corpora)
    return "\n\n".join(_corpus_table(plan, corpus, results, significance) for corpus in corpora)


def _corpus_table(plan, corpus, results, significance):
    results = [row for row in results if row["corpus"] == corpus]
    p_values = {
        (row["row"], row["baseline"]): row for row in significance if row["corpus"] == corpus
    }
    lines, missing = [], []
    for row in (row for row in plan.rows if corpus in row.corpora):
        own = [result for result in results if result["row"] == row.name]
        if not own:
            missing.append(f"`{row.name}`")
            continue
        settings = (f"{row.passes:g}", str(updates_of(plan, row)), f"{computing(plan, row):.2f}")
        against = baselines(plan, row, corpus)
        gains = [_gain(own, results, against.get(name), p_values) for name in COMPARISONS]
        lines.append((row.group, row.name, *settings, *_scores(own), *gains))
    parts = [f"**{corpus}**: {len(results)} trainings."]
    if lines:
        parts.append(_markdown(lines))
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _markdown(lines):
    """Return a table of the columns that are not empty."""
    header = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2))]
    used = [column for column, cells in enumerate(zip(*lines)) if any(cells)]
    return "\n".join(
        f"| {' | '.join(line[column] for column in used)} |" for line in [*header, *lines]
    )


def _scores(own):
    valid, test = (
        mean_and_spread([float(row[name]) for row in own]) for name in ("valid_bleu", "test_bleu")
    )
    best, ratio = (
        mean(float(row[name]) for row in own) for name in ("best_update", "length_ratio")
    )
    return [str(len(own)), f"{best:.0f}", valid, test, f"{ratio:.3f}"]


def _gain(own, results, baseline, p_values):
    gains = gains_of(own, results, baseline)
    if not gains:
        return ""
    known = p_values.get((own[0]["row"], baseline))
    p_value = f" ({_p_value(known, gains)})" if known and is_of(known, results) else ""
    return f"{mean_and_spread(gains, sign='+')}{p_value}"


def _p_value(known, gains):
    """Return p and, where outputs were not kept, the seeds that it is of and their gain."""
    seeds = known["seeds"].split()
    if len(seeds) == len(gains):
        return known["p_value"]
    named = f"seed{'s' if len(seeds) > 1 else ''} {' and '.join(seeds)}"
    return f"{named}: {known['gain']}, {known['p_value']}"


def progress(plan, results, seeds):
    """Return how many trainings the CSV has of those of the plan, as a sentence."""
    wanted = trainings(plan, seeds)
    done = sum(is_done(training, results) for training in wanted)
    return f"{done} of {len(wanted)} trainings are done."


def with_tables(path, made):
    """Return the text of a README with the tables in their place.

    Raises ValueError, in a sentence for the user, if it has no place for them.
    """
    text = path.read_text(encoding="utf-8")
    if not PLACE.search(text):
        raise ValueError(f"{path} needs the lines '{BEGIN}' and '{END}'.")
    return PLACE.sub(lambda place: f"{place[1]}\n{made}\n\n{place[2]}", text)
