"""Compares the test outputs of a row with those of another, over the seeds that were kept."""

from statistics import mean

from sacrebleu.metrics import BLEU

from rdrop_tools.ablations.outputs import REFERENCES, kept_outputs
from rdrop_tools.ablations.plan import baselines
from rdrop_tools.ablations.results import bleu_of, gains_of
from rdrop_tools.scores_csv import read_csv, write_csv
from rdrop_tools.scoring.comparison import compare
from rdrop_tools.scoring.output import read_lines, read_system

COMPARED = ("corpus", "row", "baseline")
FIELDS = (*COMPARED, "seeds", "gain", "p_value")
"""``seeds`` with spaces between them."""


class MeanBLEU(BLEU):
    """The mean BLEU of several outputs, for :class:`sacrebleu.significance.PairedTest`.

    A hypothesis is a tuple: what each of the trainings made of a sentence. So the bootstrap draws
    sentences, each with all of its translations, and not each translation by itself.
    """

    def _extract_corpus_statistics(self, hypotheses, references):
        of_outputs = [
            super(MeanBLEU, self)._extract_corpus_statistics(output, references)
            for output in zip(*hypotheses)
        ]
        return [[number for part in parts for number in part] for parts in zip(*of_outputs)]

    def _compute_score_from_stats(self, stats):
        size = 2 + 2 * self.max_ngram_order  # both lengths; n-grams, those that match and all
        parts = [stats[start : start + size] for start in range(0, len(stats), size)]
        scores = [super(MeanBLEU, self)._compute_score_from_stats(part) for part in parts]
        scores[0].score = mean(score.score for score in scores)
        return scores[0]


def read_significance(path):
    """Return the rows of the CSV, dictionaries of FIELDS; none where there is no file."""
    return read_csv(path, FIELDS)


def write_significance(path, plan, results, folder):
    """Compare each row of each corpus with its baselines, over the seeds whose outputs were kept.

    A comparison that is in the CSV stays if no more seeds are kept now and the results are still
    those, since outputs may be gone; so does one that the plan does not have.
    """
    outputs = kept_outputs(results, folder)
    known = {tuple(row[field] for field in COMPARED): row for row in read_significance(path)}
    planned = _comparisons(plan)
    rows = [row for key, row in known.items() if key not in planned]
    for key in planned:
        corpus, row, baseline = key
        before, after = outputs[corpus][baseline], outputs[corpus][row]
        seeds_kept = before.keys() & after.keys()
        if key in known and is_of(known[key], results):
            seeds_known = known[key]["seeds"].split()
        else:
            seeds_known = []
        if len(seeds_kept) > len(seeds_known):
            rows.append({**dict(zip(COMPARED, key)), **comparison(corpus, before, after)})
        elif seeds_known:
            rows.append(known[key])
    write_csv(path, FIELDS, rows)


def _comparisons(plan):
    return [
        (corpus, row.name, baseline)
        for row in plan.rows
        for corpus in row.corpora
        for baseline in baselines(plan, row, corpus).values()
    ]


def is_of(known, results):
    """Whether a row of the CSV is of these results: its gain is theirs, but for rounding."""
    seeds = known["seeds"].split()
    results = [row for row in results if row["corpus"] == known["corpus"] and row["seed"] in seeds]
    own = [row for row in results if row["row"] == known["row"]]
    gains = gains_of(own, results, known["baseline"])
    return len(gains) == len(seeds) and abs(float(known["gain"]) - mean(gains)) < 0.02


def comparison(corpus, baseline, other):
    """Compare {seed: text} of two rows by sacrebleu's paired bootstrap; the rest of FIELDS.

    The references are next to the texts.
    """
    seeds = sorted(baseline.keys() & other.keys())
    references = read_lines(baseline[seeds[0]].with_name(REFERENCES))
    systems = [
        (name, [*zip(*(read_system(outputs[seed], len(references)) for seed in seeds))])
        for name, outputs in (("baseline", baseline), ("other", other))
    ]
    _, results = compare(systems, references, {"BLEU": bleu_of(corpus, MeanBLEU)})
    first, second = results["BLEU"]
    gain, p_value = second.score - first.score, second.p_value
    return {"seeds": " ".join(seeds), "gain": f"{gain:+.2f}", "p_value": f"{p_value:.4f}"}
