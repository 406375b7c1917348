"""Compares the test outputs of a row, those of all seeds in one text, with the plain ones."""

from collections import defaultdict

from rdrop_tools.ablations.plan import PLAIN
from rdrop_tools.ablations.results import OUTPUT, bleu_of
from rdrop_tools.scores_csv import put_csv, read_csv
from rdrop_tools.scoring.comparison import compare
from rdrop_tools.scoring.output import read_references, read_system

FIELDS = ("corpus", "row", "seeds", "plain_bleu", "bleu", "p_value")


def read_significance(path):
    """Return the rows of the CSV, dictionaries of FIELDS; none where there is no file."""
    return read_csv(path, FIELDS)


def write_significance(path, results, folder):
    """Compare each row of each corpus with plain, over the seeds that both have."""
    outputs = defaultdict(lambda: defaultdict(dict))
    for row in results:
        output = folder / row["corpus"] / f"{row['row']}-seed{row['seed']}" / OUTPUT
        if output.exists():
            outputs[row["corpus"]][row["row"]][row["seed"]] = output
    compared = [
        comparison(corpus, name, of_rows[PLAIN], of_rows[name])
        for corpus, of_rows in outputs.items()
        for name in of_rows
        if name != PLAIN and of_rows[name].keys() & of_rows.get(PLAIN, {}).keys()
    ]
    put_csv(path, FIELDS, FIELDS[:2], compared)


def comparison(corpus, name, plain, other):
    """Return a row of the CSV, from {seed: output} of both; sacrebleu's paired bootstrap."""
    seeds = sorted(plain.keys() & other.keys())
    references = read_references([plain[seeds[0]]])
    systems = [
        (system, [line for seed in seeds for line in read_system(paths[seed], len(references))])
        for system, paths in ((PLAIN, plain), (name, other))
    ]
    _, results = compare(systems, references * len(seeds), {"BLEU": bleu_of(corpus)})
    baseline, result = results["BLEU"]
    return {
        **{"corpus": corpus, "row": name, "seeds": len(seeds)},
        **{"plain_bleu": f"{baseline.score:.2f}", "bleu": f"{result.score:.2f}"},
        "p_value": f"{result.p_value:.4f}",
    }
