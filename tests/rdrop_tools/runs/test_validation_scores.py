"""What fairseq-validate reports."""

import pytest

from rdrop_tools.runs.validation_scores import main

LOG = """2026-11-24 15:28:08 | INFO | fairseq_cli.validate | {'_name': None}
2026-11-24 15:28:44 | INFO | test | {"test_loss": "1.586", "test_accuracy": "62", "test_wps": "0"}
"""


def test_scores_are_printed_without_the_loss_and_the_speed(tmp_path, capsys):
    (tmp_path / "log").write_text(LOG)
    main([str(tmp_path / "log")])
    assert capsys.readouterr().out == "accuracy 62\n"


def test_a_log_without_a_score_is_refused(tmp_path):
    (tmp_path / "log").write_text(LOG.split("\n")[0])
    with pytest.raises(SystemExit, match="holds no score of fairseq-validate"):
        main([str(tmp_path / "log")])
