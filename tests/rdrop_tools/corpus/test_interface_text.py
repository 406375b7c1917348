"""Text and headlines of the interface strings, from tiny wheels with known content."""

import hashlib
import json
import zipfile

import pytest

from rdrop_tools.corpus import interface_text as program
from rdrop_tools.corpus import interface_wheel

FORM = {
    "config": {
        "step": {
            "user": {
                "title": "Set up the lamp",
                "description": "Choose the lamp to set up.",
                "data": {"host": "Host"},
                "data_description": {"host": "The address of the lamp.", "port": "No title."},
            }
        }
    },
    "services": {"on": {"name": "Turn on", "description": "Turns the lamp on."}},
    "issue": {"title": "[%key:common::x%]", "description": "Points elsewhere."},
}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Return a function that makes a wheel of {component: English strings}, with its checksum."""

    def make(components):
        path = tmp_path / "tiny.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, tree in components.items():
                folder = f"homeassistant/components/{name}/translations"
                archive.writestr(f"{folder}/en.json", json.dumps(tree))
                archive.writestr(f"{folder}/de.json", json.dumps({"title": "Deutsch"}))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(interface_wheel, "SHA256", digest)
        return path

    return make


def strings_of(path):
    return [english for (english,) in interface_wheel.read_components(path)]


def test_every_description_with_the_title_that_stands_next_to_it(wheel):
    sets = program.headline_corpus(strings_of(wheel({"lamp": FORM})))
    assert sorted(pair for rows in sets.values() for pair in rows) == [
        ("Choose the lamp to set up.", "Set up the lamp"),
        ("The address of the lamp.", "Host"),
        ("Turns the lamp on.", "Turn on"),
    ]


def test_the_most_frequent_title_counts(wheel):
    forms = {n: {"title": title, "description": "Text."} for n, title in enumerate("BAA")}
    sets = program.headline_corpus(strings_of(wheel(forms)))
    assert sets["train"] == [("Text.", "A")]


def test_text_is_split_into_words_and_rare_ones_are_unknown(wheel):
    """The second form adds nothing; a word that is held out alone is unknown too."""
    texts = {f"k{n}": f"Lamp, {name}" for n, name in enumerate(("a", "b", "rare"))}
    sets = program.text_corpus(strings_of(wheel({"one": texts, "two": texts})))
    assert sets["train"] == [("Lamp , <unk>",)] * 3


def test_the_files_and_that_no_string_is_in_two_sets(wheel, tmp_path, capsys):
    many = {f"k{n}": f"Some string with number {n}" for n in range(300)}
    out = tmp_path / "corpus"
    program.main(["text", "--wheel", str(wheel({"a": many})), "--out", str(out)])
    sizes = {s: len((out / f"{s}.en").read_text().splitlines()) for s in ("train", "valid", "test")}
    assert sum(sizes.values()) == 300 and all(sizes.values())
    assert capsys.readouterr().out.startswith(f"corpus: train {sizes['train']},")
    assert json.loads((out / "manifest.json").read_text())["licence"] == "Apache-2.0"
    of_strings = program.split_sets((text, text) for text in many.values())
    assert len({text for rows in of_strings.values() for text in rows}) == 300


def test_too_few_strings_leave_nothing_behind(wheel, tmp_path):
    with pytest.raises(SystemExit, match="nothing is left for valid"):
        path = wheel({"lamp": FORM})
        program.main(["headlines", "--wheel", str(path), "--out", str(tmp_path / "corpus")])
    assert not (tmp_path / "corpus").exists()
