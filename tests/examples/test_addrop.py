"""The comparison of AD-DROP: which trainings it makes, with train.sh replaced."""

import shutil

import pytest
from fairseq import options
from helpers.constants import EXAMPLES, TINY_TRANSFORMER
from helpers.launch import run

import rdrop_fairseq  # noqa: F401


@pytest.fixture
def compare(tmp_path):
    """Run addrop.sh; return its exit status, output and the arguments of each training."""
    examples = tmp_path / "examples"
    shutil.copytree(EXAMPLES.parent / "lib", examples / "lib")
    shutil.copy(EXAMPLES.parent / "addrop.sh", examples)
    for task in ("translation", "language_modeling"):
        (examples / task).mkdir()
        (examples / task / "train.sh").write_text(f'echo "$*" >>{tmp_path}/trainings\n')

    def start(*words):
        command = ("bash", examples / "addrop.sh", *words, "--out", tmp_path / "out")
        finished = run(*command, check=False, cwd=tmp_path)
        made = tmp_path / "trainings"
        lines = made.read_text().splitlines() if made.exists() else []
        return finished.returncode, finished.stdout, [line.split() for line in lines]

    return start


def test_every_training_is_made_with_options_that_fairseq_knows(compare):
    status, output, trainings = compare(
        "translation", "multi30k_en_de", "--seeds", "2", "--p", ".4"
    )
    assert status == 0, output
    assert len(trainings) == 2 * (2 + 2 * 4)
    names = [words[words.index("--name") + 1] for words in trainings]
    assert len(set(names)) == len(names)
    parser = options.get_training_parser
    for words in trainings:
        assert words[words.index("--seed") + 1] == words[words.index("--name") + 1][-1]
        if "--" in words:
            assert "--baseline" in words
            given = words[words.index("--") + 1 :]
            cfg = options.parse_args_and_arch(parser(), ["data", *TINY_TRANSFORMER, *given])
            assert (cfg.criterion, cfg.addrop_p) == ("addrop_label_smoothed_cross_entropy", 0.4)
            assert cfg.no_cross_tuning == ("every-epoch" in words[words.index("--name") + 1])


def test_a_language_model_has_no_encoder(compare):
    status, output, trainings = compare("language_modeling", "interface_text", "--seeds", "1")
    assert status == 0, output
    given = [words[words.index("--") + 1 :] for words in trainings if "--" in words]
    assert len(given) == 8
    for words in given:
        assert words[words.index("--addrop-attention") + 1] == "decoder"


def test_the_heat_map_is_of_the_lowest_loss(compare, tmp_path):
    (tmp_path / "scripts").mkdir()
    program = f"import sys\nopen({str(tmp_path / 'drawn')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
    (tmp_path / "scripts" / "plot_addrop_grid.py").write_text(program)
    words = ("--seeds", "1", "--grid", "--metric", "loss", "--lowest")
    status, output, trainings = compare("translation", "multi30k_en_de", *words)
    assert status == 0, output
    assert len(trainings) == 2 + 2 * 4 + 25
    assert "--metric loss --lowest --out" in (tmp_path / "drawn").read_text()


def test_a_grid_without_its_metric_is_refused_before_anything_is_trained(compare):
    status, output, trainings = compare("translation", "multi30k_en_de", "--grid")
    assert (status, trainings) == (2, [])
    assert output.startswith("addrop.sh: --grid needs --metric: accuracy or bleu")


def test_a_task_that_is_not_there_is_refused(compare):
    status, output, trainings = compare("cooking", "soup")
    assert (status, trainings) == (2, [])
    assert output == "addrop.sh: there is no examples/cooking/train.sh; see --help.\n"
