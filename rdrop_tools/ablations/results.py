"""The results of the trainings: a row of a CSV for each."""

from sacrebleu.metrics import BLEU

from rdrop_tools import manifest
from rdrop_tools.ablations.plan import NOTHING, PLAIN, pairs_of
from rdrop_tools.runs.log import read_entries, training_seconds
from rdrop_tools.scores_csv import put_csv, read_csv
from rdrop_tools.scoring.output import read_references, read_system

TRAINING = ("corpus", "row", "seed")
FIELDS = (
    *TRAINING,
    *("group", "pairs", "common", "settings", "updates", "seconds", "best_update"),
    *("valid_bleu", "test_bleu", "length_ratio"),
    *("python", "torch", "fairseq", "commit"),
)
OUTPUT, LOG, COMMIT = "generate.log", "train.log", "commit"


def read_results(path):
    """Return the rows of the CSV, dictionaries of FIELDS; none where there is no file.

    Raises ValueError, in a sentence for the user, if it is another CSV, or a line is damaged.
    """
    return read_csv(path, FIELDS)


def check_common(path, results, common):
    """Refuse to mix trainings whose common settings differ.

    Raises ValueError, in a sentence for the user, if the CSV has some with other ones.
    """
    for row in results:
        if row["common"] != common:
            raise ValueError(
                f"{path} has trainings with other settings ({row['common']}) than these "
                f"({common}): name another folder with --out."
            )


def key_of(training):
    """Return what the CSV knows a training by: the fields of TRAINING, as text."""
    return training.corpus, training.row.name, str(training.seed)


def is_done(training, results):
    """Whether the CSV has this training, with these settings."""
    return bool(of_plan(results, [training]))


def of_plan(results, trainings):
    """Return the rows of the CSV that are of these trainings, with their settings."""
    wanted = {(*key_of(one), str(one.updates), one.settings) for one in trainings}
    fields = (*TRAINING, "updates", "settings")
    return [row for row in results if tuple(row[field] for field in fields) in wanted]


def gains_of(own, results, baseline=PLAIN):
    """Return what the trainings of a row gain in test BLEU on a baseline's with their seeds.

    All results are of one corpus.
    """
    scores = {row["seed"]: float(row["test_bleu"]) for row in results if row["row"] == baseline}
    return [float(row["test_bleu"]) - scores[row["seed"]] for row in own if row["seed"] in scores]


def add_result(path, training, folder, common):
    """Add what a finished training left in its folder to the CSV; return its row.

    `common` is what the settings of all trainings have in common, as a text.
    """
    row = dict(zip(TRAINING, key_of(training)), common=common, **result_of(training, folder))
    put_csv(path, FIELDS, TRAINING, [row])
    return row


def result_of(training, folder):
    """Return what the CSV says of a finished training, next to its name and seed."""
    run = folder / training.folder
    seconds = [
        second
        for path, updates in runs_of(training, run)
        for second in training_seconds(path / LOG, [updates])
    ]
    best = best_validation(run / LOG)
    score = score_of_test_set(training.corpus, run / OUTPUT)
    return {
        "group": training.row.group,
        "pairs": pairs_of(training.corpus),
        "settings": training.settings,
        "updates": training.updates,
        "seconds": f"{sum(seconds):.0f}",
        "best_update": f"{best['num_updates']:.0f}",
        "valid_bleu": f"{best['bleu']:.2f}",
        "test_bleu": f"{score.score:.2f}",
        "length_ratio": f"{score.ratio:.3f}",
        **manifest.versions("torch"),
        **{"fairseq": manifest.fairseq(), "commit": (run / COMMIT).read_text("utf-8").strip()},
    }


def runs_of(training, run):
    """Return folder and updates of the training before, if there is one, and of its own run."""
    own = run, training.updates
    if training.row.before == NOTHING:
        return [own]
    return [(run.with_name(f"{run.name}-{training.row.before}"), training.updates_before), own]


def scored_validations(log):
    """Return the entries of the validations with BLEU, by update."""
    return [entry for entry in read_entries(log, "valid") if "bleu" in entry]


def best_validation(log):
    """Return the entry of the validation whose checkpoint fairseq keeps: the last of equal ones.

    Raises ValueError, in a sentence for the user, if there is none.
    """
    scored = scored_validations(log)
    if not scored:
        raise ValueError(f"{log} has no validation with BLEU.")
    return max(scored, key=lambda entry: (entry["bleu"], entry["num_updates"]))


def score_of_test_set(corpus, output):
    """Return sacrebleu's score of a log of fairseq-generate, against its own references."""
    references = read_references([output])
    return bleu_of(corpus).corpus_score(read_system(output, len(references)), [references])


def bleu_of(corpus, metric=BLEU):
    """Return the BLEU of a corpus: as multi-bleu.perl's where the text is tokenized already.

    `metric` is :class:`sacrebleu.metrics.BLEU`, or a class of its kind.
    """
    if corpus.startswith("multi30k"):
        return metric(lowercase=True, tokenize="none", smooth_method="none", force=True)
    return metric()
