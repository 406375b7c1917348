"""Compares the test outputs of a row, those of all seeds in one text, with those of another."""

from collections import defaultdict

from rdrop_tools.ablations.plan import baselines
from rdrop_tools.ablations.results import OUTPUT, bleu_of
from rdrop_tools.scores_csv import put_csv, read_csv
from rdrop_tools.scoring.comparison import compare
from rdrop_tools.scoring.output import read_references, read_system

COMPARED = ("corpus", "row", "baseline")
FIELDS = (*COMPARED, "seeds", "baseline_bleu", "bleu", "p_value")


def read_significance(path):
    """Return the rows of the CSV, dictionaries of FIELDS; none where there is no file."""
    return read_csv(path, FIELDS)


def write_significance(path, plan, results, folder):
    """Compare each row of each corpus with its baselines, over the seeds that both have."""
    outputs = defaultdict(lambda: defaultdict(dict))
    for row in results:
        output = folder / row["corpus"] / f"{row['row']}-seed{row['seed']}" / OUTPUT
        if output.exists():
            outputs[row["corpus"]][row["row"]][row["seed"]] = output
    compared = [
        {**dict(zip(COMPARED, (corpus, row.name, baseline))), **comparison(corpus, *both)}
        for corpus, of_rows in outputs.items()
        for row in plan.rows
        for baseline in baselines(plan, row, corpus)
        if (both := (of_rows[baseline], of_rows[row.name]))[0].keys() & both[1].keys()
    ]
    put_csv(path, FIELDS, COMPARED, compared)


def comparison(corpus, baseline, other):
    """Compare {seed: output} of two rows by sacrebleu's paired bootstrap; the rest of FIELDS."""
    seeds = sorted(baseline.keys() & other.keys())
    references = read_references([baseline[seeds[0]]])
    systems = [
        (name, [line for seed in seeds for line in read_system(outputs[seed], len(references))])
        for name, outputs in (("baseline", baseline), ("other", other))
    ]
    _, results = compare(systems, references * len(seeds), {"BLEU": bleu_of(corpus)})
    first, second = results["BLEU"]
    return {
        **{"seeds": len(seeds), "baseline_bleu": f"{first.score:.2f}"},
        **{"bleu": f"{second.score:.2f}", "p_value": f"{second.p_value:.4f}"},
    }
