"""The corpus of interface strings: from tiny wheels with known content."""

import hashlib
import json
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from rdrop_tools.corpus import home_assistant as program
from rdrop_tools.corpus import interface_sets, interface_wheel

TREE = "homeassistant/components"


def make_wheel(path, files):
    """Write a wheel of {"component/language": tree of strings}."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, tree in files.items():
            component, language = name.split("/")
            member = f"{TREE}/{component}/translations/{language}.json"
            archive.writestr(member, json.dumps(tree, ensure_ascii=False))
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Return a function that makes a wheel whose checksum is the expected one."""

    def make(files):
        path = make_wheel(tmp_path / "tiny.whl", files)
        monkeypatch.setattr(
            interface_wheel, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest()
        )
        return path

    return make


def many_strings(language):
    """Return enough strings of five words to fill every split."""
    return {f"key{n}": f"{language} string with number {n}" for n in range(300)}


def read_corpus(folder, split):
    """Return the (source, target) pairs of a split."""
    sides = [(folder / f"{split}.{language}").read_text().splitlines() for language in ("en", "de")]
    assert len(sides[0]) == len(sides[1])
    return list(zip(*sides))


def test_strings_pair_by_key(wheel):
    path = wheel(
        {
            "lamp/en": {"state": {"on": "On", "off": "Off"}, "title": "Lamp"},
            "lamp/de": {"title": "Lampe", "state": {"off": "Aus", "on": "An"}},
            "door/en": {"title": "Door"},
        }
    )
    found = {
        source: dict(targets) for source, targets in program.read_translations(path, "de").items()
    }
    assert found == {"On": {"An": 1}, "Off": {"Aus": 1}, "Lamp": {"Lampe": 1}}


def test_whitespace_is_normalised(wheel):
    path = wheel({"a/en": {"x": " Two\n\n words\u00a0\u2028here "}, "a/de": {"x": "Zwei\tWörter"}})
    assert dict(program.read_translations(path, "de")) == {
        "Two words here": Counter({"Zwei Wörter": 1})
    }


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("[%key:common::state::on%]", "An"),
        ("On", "[%key:common::state::on%]"),
        ("On", ""),
        ("On", "  \n"),
        (" ", "An"),
        ("On", {"nested": "An"}),
    ],
)
def test_pointers_and_missing_translations_are_dropped(wheel, english, german):
    path = wheel({"a/en": {"x": english, "y": "Yes"}, "a/de": {"x": german, "y": "Ja"}})
    assert set(program.read_translations(path, "de")) == {"Yes"}


def test_unknown_language_names_those_there_are(wheel):
    path = wheel({"a/en": {"x": "On"}, "a/de": {"x": "An"}, "a/fr": {"x": "Oui"}})
    with pytest.raises(program.CorpusError, match="'xx'.*de fr"):
        program.read_translations(path, "xx")


def test_each_source_once_with_its_most_frequent_translation():
    pairs = program.choose_pairs({"On": Counter({"An": 2, "Ein": 3}), "Off": Counter({"Aus": 1})})
    assert sorted(pairs) == [("Off", "Aus"), ("On", "Ein")]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("word " * 61, "Wort"),
        ("word", "Wort " * 61),
        ("word", "W" * 401),
        ("123 %", "123 Prozent"),
        ("Percent", "%"),
    ],
)
def test_useless_pairs_are_dropped(source, target):
    assert program.choose_pairs({source.strip(): Counter({target.strip(): 1})}) == []


def test_pairs_at_the_limits_are_kept():
    source, target = " ".join(["word"] * 60), "W" * 400
    assert program.choose_pairs({source: Counter({target: 1})}) == [(source, target)]


def test_a_split_is_known_for_ever():
    splits = {n: interface_sets.split_of(f"the number {n} is even") for n in range(40)}
    held_out = {n: split for n, split in splits.items() if split != "train"}
    assert held_out == {
        0: "valid",
        4: "test",
        13: "valid",
        17: "test",
        20: "test",
        21: "test",
        22: "test",
    }


def test_a_split_ignores_case_and_what_is_short():
    sources = [f"This is string Number {n}" for n in range(300)]
    assert {interface_sets.split_of(source) for source in sources} == {"train", "valid", "test"}
    assert all(interface_sets.split_of(s) == program.split_of(s.upper()) for s in sources)
    assert {interface_sets.split_of(f"Only three {n}") for n in range(300)} == {"train"}


def test_order_does_not_depend_on_the_rest_of_the_corpus():
    everything = {f"string number {n}": Counter({"x": 1}) for n in range(50)}
    some = {source: everything[source] for source in list(everything)[::-2]}
    expected = [pair for pair in program.choose_pairs(everything) if pair[0] in some]
    assert program.choose_pairs(some) == expected
    assert expected != sorted(expected)


def test_whole_program(wheel, tmp_path, capsys):
    path = wheel({"a/en": many_strings("English"), "a/de": many_strings("German")})
    program.main(["--wheel", str(path), "--out", str(tmp_path / "corpus")])
    splits = {
        split: read_corpus(tmp_path / "corpus", split) for split in ("train", "valid", "test")
    }
    assert sum(map(len, splits.values())) == 300
    assert all(
        source.replace("English", "German") == target
        for pairs in splits.values()
        for source, target in pairs
    )
    counts = ", ".join(f"{split} {len(pairs)}" for split, pairs in splits.items())
    assert counts in capsys.readouterr().out


def test_limit_takes_a_part_of_the_same_splits(wheel, tmp_path):
    path = wheel({"a/en": many_strings("English"), "a/de": many_strings("German")})
    for name, options in {"all": [], "some": ["--limit", "150"]}.items():
        program.main(["--wheel", str(path), "--out", str(tmp_path / name), *options])
    for split in ("train", "valid", "test"):
        some, everything = (read_corpus(tmp_path / name, split) for name in ("some", "all"))
        assert some == everything[: len(some)]
        assert len(some) < len(everything)


def test_a_part_of_the_training_pairs_with_all_others(wheel, tmp_path):
    path = wheel({"a/en": many_strings("English"), "a/de": many_strings("German")})
    for name, options in {"all": [], "some": ["--train-pairs", "150"]}.items():
        program.main(["--wheel", str(path), "--out", str(tmp_path / name), *options])
    train, valid, test = (read_corpus(tmp_path / "some", s) for s in ("train", "valid", "test"))
    assert train == read_corpus(tmp_path / "all", "train")[:150] and len(train) == 150
    assert valid == read_corpus(tmp_path / "all", "valid")
    assert test == read_corpus(tmp_path / "all", "test")
    with pytest.raises(SystemExit, match="has only .* training pairs"):
        program.main(["--wheel", str(path), "--out", f"{tmp_path}/more", "--train-pairs", "300"])


def test_wrong_checksum_is_refused_and_nothing_written(tmp_path):
    path = make_wheel(tmp_path / "other.whl", {"a/en": {"x": "On"}, "a/de": {"x": "An"}})
    with pytest.raises(SystemExit, match="damaged.*8167820cac4b"):
        program.main(["--wheel", str(path), "--out", str(tmp_path / "corpus")])
    assert [path] == list(tmp_path.iterdir())


def test_too_few_strings_leave_nothing_behind(wheel, tmp_path):
    path = wheel({"a/en": {"x": "On"}, "a/de": {"x": "An"}})
    with pytest.raises(SystemExit, match="too few strings"):
        program.main(["--wheel", str(path), "--out", str(tmp_path / "corpus")])
    assert [path] == list(tmp_path.iterdir())


def test_existing_folder_is_not_overwritten(wheel, tmp_path):
    path = wheel({"a/en": many_strings("English"), "a/de": many_strings("German")})
    (tmp_path / "corpus").mkdir()
    with pytest.raises(SystemExit, match="exists already"):
        program.main(["--wheel", str(path), "--out", str(tmp_path / "corpus")])
    assert list((tmp_path / "corpus").iterdir()) == []


def pip_that_writes(content):
    """Return a stand-in for subprocess.run: pip that downloads `content`, or fails without."""

    def run(command, **_):
        assert "--no-deps" in command and interface_wheel.REQUIREMENT in command
        if content is None:
            return subprocess.CompletedProcess(command, 1)
        folder = Path(command[command.index("-d") + 1])
        (folder / "homeassistant-2026.2.3-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0)

    return run


@pytest.mark.parametrize(("content", "message"), [(b"damaged", "damaged"), (None, "not download")])
def test_a_failed_download_keeps_no_file(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(interface_wheel.subprocess, "run", pip_that_writes(content))
    with pytest.raises(SystemExit, match=message):
        program.main(["--wheel", str(tmp_path / "downloads" / "it.whl")])
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_good_download_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(interface_wheel.subprocess, "run", pip_that_writes(b"good"))
    monkeypatch.setattr(interface_wheel, "SHA256", hashlib.sha256(b"good").hexdigest())
    program.main(["--wheel", str(tmp_path / "it.whl")])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"good"]


@pytest.mark.corpus
def test_the_real_wheel(tmp_path):
    program.main(["--wheel", str(tmp_path / "it.whl"), "--out", str(tmp_path / "corpus")])
    splits = {
        split: read_corpus(tmp_path / "corpus", split) for split in ("train", "valid", "test")
    }
    assert {split: len(pairs) for split, pairs in splits.items()} == {
        "train": 23421,
        "valid": 424,
        "test": 870,
    }
    trained = {source.lower() for source, _ in splits["train"]}
    held_out = [source for split in ("valid", "test") for source, _ in splits[split]]
    assert not trained & set(map(str.lower, held_out))
    assert min(len(source.split()) for source in held_out) == 4
