"""The tables of the benchmarks are as their archives are; another file is refused."""

import json
import re
import urllib.parse
from pathlib import Path
from types import SimpleNamespace

import pytest

from rdrop_tools.corpus.table import CorpusError, read_table

TABLES = Path(__file__).resolve().parents[3] / "examples" / "translation"
BENCHMARKS = {
    "iwslt14_de_en": ["de", "en"],
    "wmt14_en_de": ["en", "de"],
    "wmt14_en_fr": ["en", "fr"],
    "multi30k_en_de": ["en", "de"],
}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("not JSON", "not a corpus description"),
        ("[]", "not a corpus description"),
        ('{"archives": [{"file": "a.tgz"}]}', "not a corpus description"),
        ('{"archives": [{"file": "../a.tgz", "urls": []}]}', "plain name"),
        ('{"archives": [{"file": "a.tgz", "urls": ["file:///etc/passwd"]}]}', "https or http"),
        ('{"archives": [{"file": "a.tgz", "urls": ["ftp://host/a.tgz"]}]}', "https or http"),
    ],
)
def test_a_table_that_is_none_or_asks_for_what_it_should_not(tmp_path, table, reason):
    path = tmp_path / "corpus.json"
    path.write_text(table)
    with pytest.raises(CorpusError, match=reason):
        read_table(path)


def test_a_missing_table(tmp_path):
    with pytest.raises(CorpusError, match="Cannot read"):
        read_table(tmp_path / "corpus.json")


@pytest.fixture(params=BENCHMARKS)
def table(request):
    path = TABLES / request.param / "corpus.json"
    contents = json.loads(path.read_text())
    return SimpleNamespace(name=request.param, path=path, **contents)


def test_tables_are_well_formed(table):
    assert table.languages == BENCHMARKS[table.name]
    archives = {archive.file: archive for archive in read_table(table.path).archives}
    assert len(archives) == len(table.archives)
    for text in table.texts:
        assert set(text) <= {"name", "split", "format", "archive", "files", "pairs"}
        assert text["split"] in {"train", "valid", "dev", "test"}
        assert text["format"] in {"plain", "ted", "segments"}
        assert text["pairs"] > 0
        for file, language in zip(text["files"], table.languages):
            assert re.search(rf"\.{language}(\.|$)", file), file
        assert len(text["files"]) == 2
    assert len({text["name"] for text in table.texts}) == len(table.texts)
    used = {
        name for t in table.texts for name in ([t["archive"]] if "archive" in t else t["files"])
    }
    assert used == set(archives)


def test_archives_of_the_tables_can_be_verified(table):
    for entry in table.archives:
        assert set(entry) <= {"file", "urls", "bytes", "sha256", "md5"}
        assert entry.get("bytes", 1) > 0
        assert re.fullmatch("[0-9a-f]{64}", entry.get("sha256", "0" * 64))
        assert re.fullmatch("[0-9a-f]{32}", entry.get("md5", "0" * 32))
        schemes = {urllib.parse.urlsplit(url).scheme for url in entry["urls"]}
        assert schemes == {"https"} or {"sha256", "md5"} & set(entry), "http needs a checksum"
        assert all(url.endswith("/" + entry["file"]) for url in entry["urls"])


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("iwslt14_de_en", {"train": 174_443, "test": 6_750}),
        ("wmt14_en_de", {"train": 4_520_620, "dev": 3_000, "test": 3_003}),
        ("wmt14_en_fr", {"train": 40_842_333, "test": 3_003}),
        ("multi30k_en_de", {"train": 29_000, "valid": 1_014, "test": 1_000}),
    ],
)
def test_pairs_of_the_tables_add_up_to_the_known_totals(name, pairs):
    texts = json.loads((TABLES / name / "corpus.json").read_text())["texts"]
    counted = {split: sum(t["pairs"] for t in texts if t["split"] == split) for split in pairs}
    assert counted == pairs
    assert {text["split"] for text in texts} == set(pairs)


def test_segments_of_the_real_test_sets_are_as_many_as_the_tables_say(shared_data):
    folders = {"iwslt14_de_en": "iwslt14/orig", "wmt14_en_de": "wmt14", "wmt14_en_fr": "wmt14"}
    for name, folder in folders.items():
        for text in json.loads((TABLES / name / "corpus.json").read_text())["texts"]:
            if text["format"] == "segments":
                for file in text["files"]:
                    content = (shared_data / folder / file).read_text(encoding="utf-8")
                    assert len(re.findall("<seg id=", content)) == text["pairs"], file
