"""sacremoses's output is that of the standard preparation, on every line of real text."""

import hashlib
import re

import pytest

from rdrop_tools.corpus import moses

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


@pytest.mark.parametrize(
    "text, lang, normalized",
    [
        ("„Ja“ – so\u200bso…", "de", '"Ja" - so so...'),
        ("Er sagte: „Ja.“", "de", 'Er sagte: "Ja".'),
        ("Er sagte „Ja.“ Dann ging er.", "de", 'Er sagte "Ja". Dann ging er.'),
        ("Le roi d’Écosse l’avait", "fr", "Le roi d\"Écosse l'avait"),
        ("", "de", ""),
    ],
)
def test_normalisation(text, lang, normalized):
    """Expected is what normalize-punctuation.perl and remove-non-printing-char.perl print."""
    assert moses.normalize(text, lang) == normalized


@pytest.mark.parametrize(
    "name, sha256",
    [
        ("deen-src.en", "610882c97e24bc4f6d48c9ce300af787fe46e9d9d7348e99da960b44fb716f74"),
        ("deen-ref.de", "b30434481bf2253c84aa1dbaa03f7dcb63de38c429734926d4f42c31ac1c969c"),
        ("fren-ref.fr", "deda4227d2ff2c06c8d7de4bba542821cce8181df0b1a564fa82f77882a3f082"),
    ],
)
def test_every_line_of_newstest2014_is_normalised_and_tokenized_as_by_perl(
    shared_data, name, sha256
):
    """The checksums are those of what Moses's own scripts print, with LANG and NAME as above:

    grep '<seg id' newstest2014-NAME.sgm |
    sed -e 's/<seg id="[0-9]*">\\s*//g' -e 's/\\s*<\\/seg>\\s*//g' |
    perl normalize-punctuation.perl -l LANG | perl remove-non-printing-char.perl |
    perl tokenizer.perl -a -l LANG -q | sha256sum
    """
    lang = name.rpartition(".")[2]
    sgm = shared_data / "wmt14" / "test-full" / f"newstest2014-{name}.sgm"
    lines = [moses.normalize(text, lang) for text in SEGMENT.findall(sgm.read_text("utf-8"))]
    text = "".join(moses.tokenize(line, lang, True) + "\n" for line in lines)
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
