"""The ablation study in small: run by its script, killed and continued; its README."""

import contextlib
import csv
import functools
import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from itertools import combinations, product
from statistics import mean, stdev

import pytest
from helpers.benchmarks import SMALL_MODEL
from helpers.constants import REPOSITORY
from helpers.launch import run, start

from rdrop_tools.ablations.outputs import REFERENCES, kept_outputs
from rdrop_tools.ablations.plan import cost, read_plan, trainings
from rdrop_tools.ablations.results import TRAINING, bleu_of, read_results
from rdrop_tools.ablations.validations import read_validations
from rdrop_tools.scoring.output import read_lines, read_system

FOLDER = REPOSITORY / "examples" / "ablations"
ADDROP, REPEATED, TARGET_KL = (FOLDER / name for name in ("addrop", "repeated", "target_kl"))
STUDIES = {FOLDER: "multi30k-5000", ADDROP: "multi30k-2000", REPEATED: "multi30k-5000"}
"""With the corpus that its page is about."""
PROGRAM = REPOSITORY / "scripts" / "ablations.py"
README = FOLDER / "README.md"
FIGURE = re.compile(r"(?<![\d.,])(?<!\w-)(?:(?<!\S)[+-]|(?<=\()[+-])?\d+\.\d{1,4}\b")
"""With its sign; not in the name of a row."""
SETTING = re.compile(r"\b(?:alpha|dropout|rates? of|with|q of) 0\.\d\b")
CORPORA = {
    "interface-es-5000": "interface",
    **{f"multi30k-{number}000": f"{number},000" for number in (2, 10, 29)},
}
"""The words by which a text names a corpus other than its own."""
FINDINGS = ("# Ablations", "## Run it"), ("### The paper's claims", "### What was looked at")
TABLES = re.compile(r"<!-- tables -->(.*)<!-- end of tables -->", re.DOTALL)
WORDS = {"en": ("a", "house", "the", "dog", "runs"), "de": ("ein", "haus", "der", "hund", "rennt")}
ROWS = """
updates 6
view_cost 0.9
plain      | base     | multi30k-150 | plain  | 1 | 1 | -     |
bi-simcut  | methods  | multi30k-150 | simcut | 2 | 1 | both  |
fine-tuned | schedule | multi30k-150 | rdrop  | 2 | 0.5 | plain |
"""
TRAININGS = (
    *("plain-seed1", "bi-simcut-seed1", "bi-simcut-seed1-both"),
    *("fine-tuned-seed1", "fine-tuned-seed1-plain"),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Archives of a toy corpus, and a table of three rows."""
    folder = tmp_path_factory.mktemp("ablations")
    (folder / "orig").mkdir()
    (folder / "rows.txt").write_text(ROWS)
    chance = random.Random(0)
    for name, count in {"train": 200, "val": 10, "test_2016_flickr": 10}.items():
        numbers = [chance.choices(range(5), k=chance.randint(2, 8)) for _ in range(count)]
        for language, words in WORDS.items():
            text = "".join(" ".join(words[n] for n in line) + "\n" for line in numbers)
            archive = folder / "orig" / f"{name}.{language}.gz"
            archive.write_bytes(gzip.compress(text.encode()))
    return folder


def command(given, out, *words):
    options = ("--orig", given / "orig", "--rows", given / "rows.txt", "--out", out, "--cpu")
    small = ("--seeds", 1, "--bpe-size", 40, *words, "--", *SMALL_MODEL, "--warmup-updates", 1)
    return ("bash", FOLDER / "run.sh", *options, *small)


def results(out):
    """Return the rows of the CSV without what a clock or the order of the trainings decides."""
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        rows = [{**row, "seconds": row["seconds"] != ""} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: row["row"])


def kill_at_the_first_checkpoint(*words):
    out = words[words.index("--out") + 1]
    process = start(*words, start_new_session=True, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("*/*/checkpoint_last.pt")):
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        while True:  # what it has started takes its time to die
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.faults
def test_killed_and_continued_it_has_the_same_results(given, tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    kill_at_the_first_checkpoint(*command(given, killed, "--jobs", 2))
    assert not (killed / "results.csv").exists()
    said = run(*command(given, killed, "--jobs", 2)).stdout
    assert "3 trainings are to be run" in said and "3 of 3 trainings are done." in said
    shutil.copytree(killed / "multi30k-150", undisturbed / "multi30k-150")
    for training in TRAININGS:
        shutil.rmtree(undisturbed / "multi30k-150" / training)
    run(*command(given, undisturbed, "--jobs", 1))
    assert results(killed) == results(undisturbed)
    simcut, tuned, plain = results(killed)
    assert (plain["settings"], plain["updates"]) == (
        "--criterion label_smoothed_cross_entropy",
        "6",
    )
    assert plain["pairs"] == "150" and float(plain["length_ratio"]) > 0
    criterion = "--criterion simcut_label_smoothed_cross_entropy"
    assert simcut["settings"] == f"{criterion}, after 6 updates of both"
    criterion = "--criterion rdrop_label_smoothed_cross_entropy"
    assert tuned["settings"] == f"{criterion}, after 6 updates of plain"
    assert tuned["updates"] == "3"

    logs = [(killed / "multi30k-150" / run / "train.log").read_text() for run in TRAININGS]
    assert ["binarized-bidirectional" in log for log in logs] == [False, False, True, False, False]
    assert ["-both/checkpoint_best.pt" in log for log in logs] == [False, True, *[False] * 3]
    assert ["-plain/checkpoint_best.pt" in log for log in logs] == [*[False] * 3, True, False]
    assert ["rdrop_label" in log for log in logs] == [*[False] * 3, True, False]
    assert ["'max_update': 3," in log for log in logs] == [*[False] * 3, True, False]
    assert (killed / "significance.csv").read_text().count("multi30k-150,bi-simcut,plain,1,") == 1
    assert not list(killed.glob("*/*/checkpoint*.pt"))
    again = run(*command(given, killed)).stdout
    assert "0 trainings are to be run" in again and "already there" not in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "nothing"), "no row of .*rows.txt has a name like nothing"),
        (("--jobs", "0"), "--jobs must be a whole number above 0, not '0'"),
        (("--rows", "nowhere"), "No such file or directory: 'nowhere'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(given, tmp_path, words, message):
    finished = run("bash", FOLDER / "run.sh", "--out", tmp_path, "--cpu", *words, check=False)
    assert finished.returncode != 0
    assert re.search(message, finished.stdout), finished.stdout


def made_readme(folder, study=FOLDER):
    run("python", PROGRAM, "readme", "--rows", study / "rows.txt", "--out", folder)
    return (folder / "README.md").read_text("utf-8")


def copied(study, folder):
    """A copy of the README and of the CSVs that it is made of, where there are any."""
    for path in (study / "README.md", *study.glob("*.csv")):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def documents(tmp_path):
    return copied(FOLDER, tmp_path)


@pytest.mark.parametrize("study", [*STUDIES, TARGET_KL], ids=lambda study: study.name)
def test_the_tables_of_the_readme_are_made_of_the_results(study, tmp_path):
    assert made_readme(copied(study, tmp_path), study) == (study / "README.md").read_text("utf-8")


@pytest.mark.parametrize("study", [FOLDER, REPEATED], ids=lambda study: study.name)
def test_the_translations_have_the_scores_of_the_results(study):
    results = read_results(study / "results.csv")
    outputs = kept_outputs(results, study)
    scored = []
    for row in results:
        if path := outputs[row["corpus"]][row["row"]].get(row["seed"]):
            references = read_lines(path.with_name(REFERENCES))
            output = read_system(path, len(references))
            score = bleu_of(row["corpus"]).corpus_score(output, [references])
            assert f"{score.score:.2f}" == row["test_bleu"], path
            scored.append(path)
    assert sorted(scored) == sorted(study.glob("outputs/*/*-seed*.txt")) != []


@pytest.mark.parametrize("study", [FOLDER, REPEATED], ids=lambda study: study.name)
def test_the_best_of_the_validations_is_the_score_of_the_results(study):
    best = defaultdict(float)
    for entry in read_validations(study / "validations.csv"):
        key = tuple(entry[name] for name in TRAINING)
        best[key] = max(best[key], float(entry["bleu"]))
    scores = {
        tuple(row[name] for name in TRAINING): row["valid_bleu"]
        for row in read_results(study / "results.csv")
    }
    assert best and {key: f"{bleu:.2f}" for key, bleu in best.items()}.items() <= scores.items()


@functools.cache
def figures_of_rows(study=FOLDER):
    """{(corpus, name of a row): its figures in the tables of the study}."""
    figures = defaultdict(set)
    (tables,) = TABLES.findall((study / "README.md").read_text("utf-8"))
    for line in re.findall(r"^(?:\*\*.*\*\*|\|.*\|$)", tables, re.MULTILINE):
        if line.startswith("**"):
            corpus = line.strip("*")
        else:
            figures[corpus, line.split(" | ")[1]].update(with_and_without_sign(line))
    return figures


def with_and_without_sign(text):
    figures = FIGURE.findall(text)
    return {*figures, *(figure.lstrip("+-") for figure in figures)}


@functools.cache
def scores_of_rows(study):
    """{(corpus, set): {name of a row: {seed: BLEU}}}."""
    scores = defaultdict(lambda: defaultdict(dict))
    for row in read_results(study / "results.csv"):
        for kind in ("valid_bleu", "test_bleu"):
            scores[row["corpus"], kind][row["row"]][row["seed"]] = float(row[kind])
    return scores


def with_digits(values, digits):
    return with_and_without_sign(" ".join(f"{value:+.{digits}f}" for value in values))


def made_of_scores(names, rows):
    """The figures that the scores of these rows give.

    With one decimal the scores themselves and their mean, and by how much a row differs from one
    that is named after it, with each seed and in the mean; with two the mean and deviation of the
    difference.
    """
    figures = set()
    names = [name for name in names if name in rows]
    for name in names:
        values = [*rows[name].values()]
        figures |= with_digits([*values, mean(values)], 1)
    for one, other in combinations(names, 2):
        seeds = rows[one].keys() & rows[other].keys()
        gains = [rows[one][seed] - rows[other][seed] for seed in seeds]
        if gains:
            figures |= with_digits([*gains, mean(gains)], 1)
        if len(gains) > 1:
            figures |= with_digits([mean(gains), stdev(gains)], 2)
            figures |= with_digits([stdev(gains)], 1)
    return figures


def figures_of(block, studies, own_corpus):
    """The figures of studies that a text may have: of the rows, corpora and sets that it names."""
    names, figures = names_in(block), set()
    named = [
        corpus
        for corpus, words in CORPORA.items()
        if re.search(rf"(?<![\d,]){words}", block.lower())
    ]
    for study, corpus in product(studies, {own_corpus, *named}):
        figures.update(*(figures_of_rows(study).get((corpus, name), ()) for name in names))
        for kind in ("valid_bleu", "test_bleu") if "valid" in block else ("test_bleu",):
            figures |= made_of_scores(names, scores_of_rows(study)[corpus, kind])
    return figures


def blocks(text):
    """Paragraphs, list items and lines of tables."""
    return re.split(r"\n(?=\n|- |\|)", text)


def names_in(block):
    """In their order."""
    return [*dict.fromkeys(re.findall(r"`([\w.-]+)`", block))]


def without_source(text, smallest_digits=2, studies=(FOLDER,)):
    """The figures of each block that no row of these studies that is named there has."""
    own_corpus = STUDIES[studies[0]]
    return [
        figure
        for block in blocks(text)
        for figure in FIGURE.findall(SETTING.sub("", block))
        if len(figure.partition(".")[2]) >= smallest_digits
        and figure not in figures_of(block, studies, own_corpus)
    ]


@pytest.mark.parametrize(
    "studies", [(FOLDER,), (ADDROP,), (REPEATED, FOLDER)], ids=lambda studies: studies[0].name
)
def test_the_words_have_the_figures_of_the_rows_that_they_name(studies):
    text = TABLES.sub("", (studies[0] / "README.md").read_text("utf-8"))
    assert without_source(text, studies=studies) == []


@pytest.mark.parametrize(("begin", "end"), FINDINGS)
def test_the_findings_have_no_figure_of_their_own_with_one_decimal_either(begin, end):
    text = README.read_text("utf-8")
    assert without_source(text[text.index(begin) : text.index(end)], smallest_digits=1) == []


@pytest.mark.parametrize("page", ["README.md", "docs/settings.md", "docs/simcut.md"])
def test_other_pages_have_the_figures_of_the_rows_that_they_name(page):
    text = (REPOSITORY / page).read_text("utf-8")
    rows = {name for study in STUDIES for _, name in figures_of_rows(study)}
    about = [
        block
        for block in blocks(text)
        if "examples/ablations" in block or rows.intersection(names_in(block))
    ]
    assert without_source("\n\n".join(about), studies=tuple(STUDIES)) == []
    assert re.findall(r"\d\.\d\d", "".join(about))


def test_a_figure_of_no_row_or_of_another_row_is_noticed():
    (own, *_), (other, *_) = (
        sorted(figures_of_rows()["multi30k-5000", one] - figures_of_rows()["multi30k-5000", two])
        for one, two in (("rdrop", "plain"), ("plain", "rdrop"))
    )
    assert without_source(f"- `rdrop` has {own}\n- `plain` has {other}") == []
    assert without_source(f"- `rdrop` has 98.76 and\n  {other}\n- `plain`\n\n{own}") == [
        *("98.76", other, own)
    ]


def test_a_figure_that_the_results_do_not_have_is_noticed(documents):
    readme = documents / "README.md"
    text = readme.read_text("utf-8")
    readme.write_text(re.sub(r"(\| plain \|.*± )", r"\g<1>9", text, count=1), "utf-8")
    assert readme.read_text("utf-8") != text
    assert made_readme(documents) == README.read_text("utf-8")


def test_the_readme_says_what_the_table_of_rows_says():
    plan, text = read_plan(FOLDER / "rows.txt"), README.read_text("utf-8")
    assert f"all of it: {len(trainings(plan, 3))} trainings" in text
    assert f"changes no result: {plan.updates:,}, or" in text
    assert f"R-Drop counts as {cost(plan, 2):g} plain ones" in text
    assert f"each further view {plan.view_cost:g} more" in text
