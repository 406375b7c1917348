"""The tables of an ablation study in Markdown, from its CSVs, and the README that shows them."""

import re
from statistics import mean

from rdrop_tools.ablations.plan import PLAIN, computing, trainings, updates_of
from rdrop_tools.ablations.results import is_done
from rdrop_tools.runs.seed_scores import mean_and_spread

COLUMNS = (
    *("group", "row", "passes", "updates", "computing", "seeds", "best update"),
    *("valid BLEU", "test BLEU", "to plain", "p"),
)
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
PLACE = re.compile(rf"({BEGIN}\n).*?({END})", re.DOTALL)


def tables(plan, results, significance):
    """Return the text: a table for each corpus, and how much of the plan was run."""
    corpora = dict.fromkeys(corpus for row in plan.rows for corpus in row.corpora)
    return "\n\n".join(_corpus_table(plan, corpus, results, significance) for corpus in corpora)


def _corpus_table(plan, corpus, results, significance):
    rows = [row for row in plan.rows if corpus in row.corpora]
    results = [row for row in results if row["corpus"] == corpus]
    p_values = {row["row"]: row for row in significance if row["corpus"] == corpus}
    lines = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2))]
    for row in rows:
        own = [result for result in results if result["row"] == row.name]
        settings = (f"{row.passes:g}", str(updates_of(plan, row)), f"{computing(plan, row):.2f}")
        measured = _measured(own, results, p_values.get(row.name))
        lines.append((row.group, row.name, *settings, *measured))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{corpus}**: {len(results)} trainings.\n\n{table}"


def _measured(own, results, p_value):
    if not own:
        return ["0", *["not measured"] * 3, "", ""]
    valid, test = (
        mean_and_spread([float(row[name]) for row in own]) for name in ("valid_bleu", "test_bleu")
    )
    best = f"{mean(float(row['best_update']) for row in own):.0f}"
    gains = gains_of(own, results)
    gain = f"{mean(gains):+.2f}" if gains and own[0]["row"] != PLAIN else ""
    same_seeds = p_value and p_value["seeds"] == str(len(gains))
    return [str(len(own)), best, valid, test, gain, p_value["p_value"] if same_seeds else ""]


def gains_of(own, results):
    """Return what the trainings of a row gain in test BLEU on the plain ones with their seeds."""
    plain = {row["seed"]: float(row["test_bleu"]) for row in results if row["row"] == PLAIN}
    return [float(row["test_bleu"]) - plain[row["seed"]] for row in own if row["seed"] in plain]


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
