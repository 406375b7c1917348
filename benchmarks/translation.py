#!/usr/bin/env python3
"""Speed and BLEU of fairseq and CTranslate2 on the test set of a trained run, side by side."""

import argparse
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from sacrebleu.metrics import BLEU

from benchmarks import measure
from rdrop_tools.scoring.output import read_lines
from rdrop_tools.translation.engines import Search, load_engine
from rdrop_tools.translation.export import export
from rdrop_tools.translation.folder import find_model
from rdrop_tools.translation.preparation import Preparation
from rdrop_tools.translation.reader import LINES_AT_A_TIME
from rdrop_tools.translation.translator import Translator

RESULTS = Path(__file__).with_name("translation.csv")
QUANTIZATIONS = ("float32", "int8")


def make_translators(run, exported, search, threads):
    """Return {(variant, threads): a translator of prepared text}."""
    models = {"fairseq float32": find_model(run)}
    for quantization in QUANTIZATIONS:
        export(run, exported / quantization, quantization=quantization)
        models[f"CTranslate2 {quantization}"] = find_model(exported / quantization)
    translators = {}
    for name, files in models.items():
        for count in threads:
            engine = load_engine(files, search, cpu=True, threads=count)
            preparation = Preparation(files, engine.source, engine.target)
            translators[name, count] = Translator(engine, preparation, is_prepared=True)
    return translators


def translate(translator, threads, lines):
    """Return the translations of all lines, as many at a time as translate.sh takes."""
    torch.set_num_threads(threads)
    texts = []
    for start in range(0, len(lines), LINES_AT_A_TIME):
        found = translator.translate(lines[start : start + LINES_AT_A_TIME])
        texts += [line[0].text if line else "" for line in found]
    return texts


def test_set(run, translators, limit):
    """Return the source in subwords, the reference before that, and a BLEU for such text."""
    files = find_model(run)
    engine = next(iter(translators.values())).engine
    folder = files.subword_model.parent
    source = read_lines(folder / f"test.{engine.source}")[:limit]
    reference = read_lines(folder / "tokenized" / f"test.{engine.target}")[:limit]
    is_tokenized = "corpus" in files.manifest
    return source, reference, BLEU(tokenize="none" if is_tokenized else "13a", force=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a training")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--lenpen", type=float, default=1.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--limit", type=int, help="the first lines of the test set only")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--csv", type=Path, default=RESULTS, help="where rows are appended")
    args = parser.parse_args()
    search = Search(beam=args.beam, lenpen=args.lenpen)
    with tempfile.TemporaryDirectory() as exported:
        translators = make_translators(args.run, Path(exported), search, args.threads)
        source, reference, bleu = test_set(args.run, translators, args.limit)
        outputs = {}

        def run(variant):
            outputs[variant] = translate(translators[variant], variant[1], source)

        calls = {variant: partial(run, variant) for variant in translators}
        seconds = measure.interleaved(calls, args.repeats, "cpu")
    sizes = {"model": str(args.run), "sentences": len(source), "beam": args.beam}
    rows = []
    for (name, threads), times in seconds.items():
        torch.set_num_threads(threads)  # which rows_of notes
        (row,) = measure.rows_of({name: times}, {}, **sizes, lenpen=args.lenpen)
        row["ctranslate2"] = metadata.version("ctranslate2")
        row["sentences_per_s"] = round(len(source) / min(times), 1)
        row["bleu"] = round(bleu.corpus_score(outputs[name, threads], [reference]).score, 2)
        rows.append(row)
    measure.append(args.csv, rows)
    print_table(rows)


def print_table(rows):
    """Print the rows as a Markdown table."""
    heads = ("variant", "threads", "minimum_s", "sentences_per_s", "bleu")
    print("| " + " | ".join(heads) + " |", "| --- | ---: | ---: | ---: | ---: |", sep="\n")
    for row in rows:
        print("| " + " | ".join(str(row[head]) for head in heads) + " |")


if __name__ == "__main__":
    main()
