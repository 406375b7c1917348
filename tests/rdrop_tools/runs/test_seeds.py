"""Results over seeds as a table."""

import pytest

from rdrop_tools.runs.seeds import main

RESULTS = """train_set,method,seed,valid,test
train,plain,1,60,61
train,R-Drop,1,62,70
train,plain,2,62,63
"""


def test_mean_and_standard_deviation_of_a_sample(tmp_path, capsys):
    path = tmp_path / "results.csv"
    path.write_text(RESULTS)
    main([str(path)])
    assert capsys.readouterr().out.split("\n")[2:4] == [
        "| train | plain | 2 | 61.0 ± 1.4 | 62.0 ± 1.4 |",
        "| train | R-Drop | 1 | 62.0 | 70.0 |",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "columns of"), (RESULTS + "train,plain,3,,\n", "line 5 of")],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(SystemExit, match=message):
        main([str(path)])
