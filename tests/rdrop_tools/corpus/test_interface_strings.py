"""The kinds of interface strings, from a wheel of the real layout to labelled sets."""

import json
import zipfile

import pytest

from rdrop_tools.corpus import interface_wheel
from rdrop_tools.corpus.interface_strings import choose_examples, kind_of, main, make_sets
from rdrop_tools.corpus.labelled import NO_LABEL


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (("title",), "title"),
        (("config", "step", "user", "title"), "title"),
        (("config", "step", "user", "description"), "description"),
        (("config", "step", "user", "data", "name"), "label"),
        (("config", "step", "user", "data_description", "title"), "description"),
        (("config", "error", "cannot_connect"), "error"),
        (("config", "abort", "already_configured"), "error"),
        (("selector", "mode", "options", "all"), "option"),
        (("entity", "sensor", "air", "state", "good"), "option"),
        (("entity", "sensor", "air", "name"), "name"),
        (("common", "behavior"), None),
        (("options",), None),
    ],
)
def test_the_key_says_the_kind(key, kind):
    assert kind_of(key) == kind


def test_a_string_of_two_kinds_is_left_out_and_case_is_no_difference():
    strings = [
        (("title",), "Battery"),
        (("entity", "sensor", "battery", "name"), "battery"),
        (("entity", "sensor", "power", "name"), "Power"),
        (("entity", "sensor", "other", "name"), "power"),
        (("title",), "[%key:common::title%]"),
        (("title",), "42"),
    ]
    assert [(row.sentences, row.label) for row in choose_examples(strings)] == [
        (("Power",), "name")
    ]


def rows(count=400):
    return choose_examples(
        ((("x", "name" if n % 2 else "title")), f"String {n}") for n in range(count)
    )


def test_sets_do_not_overlap_and_do_not_depend_on_what_else_is_there():
    sets, fewer = make_sets(rows(), []), make_sets(rows(200), [])
    texts = {name: {row.sentences for row in members} for name, members in sets.items()}
    assert sum(map(len, texts.values())) == len(set.union(*texts.values())) == 400
    assert all({row.sentences for row in fewer[name]} <= texts[name] for name in sets)
    assert len(texts["train"]) > len(texts["test"]) > len(texts["valid"]) > 0


def test_fewer_labels_are_the_first_and_the_rest_has_none():
    sets = make_sets(rows(), [50])
    train, few, semi = sets["train"], sets["train-50"], sets["semi-50"]
    assert few == train[:50]
    assert {row.sentences for row in semi} == {row.sentences for row in train}
    labelled = [row for row in semi if row.label != NO_LABEL]
    assert set(labelled) == set(few) and 0.4 < len(labelled) / len(semi) < 0.6


def test_the_program_writes_sets_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    wheel, out = tmp_path / "wheel.whl", tmp_path / "sets"
    strings = {f"Name {n} of a device": f"n{n}" for n in range(120)}
    tree = {"entity": {"sensor": {key: {"name": text} for text, key in strings.items()}}}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("homeassistant/components/a/translations/en.json", json.dumps(tree))
        archive.writestr("homeassistant/components/a/translations/de.json", '{"title": "x"}')
    monkeypatch.setattr(interface_wheel, "verify_checksum", lambda path: None)
    with pytest.raises(SystemExit, match="too few for 300 labels"):
        main(["--wheel", str(wheel), "--out", str(out)])
    assert not out.exists()
    main(["--wheel", str(wheel), "--out", str(out), "--labels", "10", "--size", "50"])
    assert "train-10 10" in capsys.readouterr().out
    for name in ("train", "valid", "test", "train-10", "semi-10"):
        labels, texts = ((out / f"{name}.{c}").read_text().split("\n") for c in ("label", "input0"))
        assert len(labels) == len(texts) > 1
        assert set(labels[:-1]) <= {"name", NO_LABEL}
    assert (out / "spm.model").exists() and (out / "manifest.json").exists()
