"""sacremoses's output is that of the standard preparation, on every line of real text."""

import re

import moses
import pytest

SEGMENT = re.compile(r'<seg id="\d+">\s*(.*?)\s*</seg>')


@pytest.mark.parametrize("name", ["dev2010", "tst2010"])
@pytest.mark.parametrize("lang", ["de", "en"])
def test_every_line_of_iwslt14_is_tokenized_as_expected(shared_data, name, lang):
    folder = shared_data / "iwslt14"
    xml = folder / "orig" / "de-en" / f"IWSLT14.TED.{name}.de-en.{lang}.xml"
    raw = [text.replace("’", "'") for text in SEGMENT.findall(xml.read_text("utf-8"))]
    expected = (folder / "expected" / f"IWSLT14.TED.{name}.de-en.{lang}").read_text("utf-8")
    assert [moses.tokenize(line, lang).lower() for line in raw] == expected.split("\n")[:-1]


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("In the U.S.", "In the U.S ."),
        ("We were 75.", "We were 75 ."),
        ("Patient B.", "Patient B ."),
        ("Mr. B. came", "Mr. B. came"),
        ("and so on...", "and so on ..."),
        (".", "."),
        ("", ""),
        ('"No."', "&quot; No . &quot;"),
    ],
)
def test_a_final_full_stop_stands_alone(text, tokens):
    assert moses.tokenize(text, "en") == tokens


def test_hyphens_are_split_where_asked():
    assert moses.tokenize("a well-known word", "en", True) == "a well @-@ known word"
    assert moses.tokenize("a well-known word", "en") == "a well-known word"


def test_normalisation():
    assert moses.normalize("„Ja“ – so\u200bso…", "de") == '"Ja" - so so...'
