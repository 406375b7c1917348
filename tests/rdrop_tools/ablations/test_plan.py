"""The table of the ablations: what is read, what trainings it makes, what they cost."""

import re
from statistics import mean

import pytest
from fairseq import options
from helpers.constants import REPOSITORY

from rdrop_fairseq.schedule import Schedule
from rdrop_tools.ablations.plan import (
    baselines,
    computing,
    cost,
    matching,
    read_plan,
    trainings,
    updates_before,
    updates_of,
)

ROWS = REPOSITORY / "examples" / "ablations" / "rows.txt"
PLAN = read_plan(ROWS)
NAMED = {row.name: row for row in PLAN.rows}
FIRST = {training.row.name: training for training in trainings(PLAN, 1)[::-1]}


def parsed(training):
    """What fairseq-train understands of the arguments of a training."""
    parser = options.get_training_parser()
    return options.parse_args_and_arch(parser, ["data", "--arch=transformer", *training.split()])


def write(tmp_path, *lines, settings=("updates 100", "view_cost 0.5")):
    path = tmp_path / "rows.txt"
    path.write_text("\n".join([*settings, *lines]))
    return path


def test_a_line_is_a_row(tmp_path):
    line = "late | when | text-20 text-5 | rdrop | 1.25 | 2 | - | --rdrop-start-update 75%  # why"
    plan = read_plan(write(tmp_path, "# nothing", "", line))
    (row,) = plan.rows
    assert (plan.updates, plan.view_cost) == (100, 0.5)
    assert row[:3] == ("late", "when", ("text-20", "text-5"))
    made = trainings(plan, 2)
    assert [training.folder for training in made] == [
        *("text-20/late-seed1", "text-5/late-seed1", "text-20/late-seed2", "text-5/late-seed2")
    ]
    assert {training.updates for training in made} == {200}
    criterion = "--criterion rdrop_label_smoothed_cross_entropy"
    assert made[0].arguments == f"{criterion} --rdrop-start-update 150"


def test_equal_computing(tmp_path):
    """A further pass costs half of the first here: 2 passes cost 1.5, and 4 passes 2.5."""
    lines = [
        "plain  | g | text-5 | plain | 1 | equal | - |",
        "rdrop  | g | text-5 | rdrop | 2 | equal | - |",
        "views4 | g | text-5 | rdrop | 4 | equal | - | --rdrop-views 4",
        "late   | g | text-5 | rdrop | 1.5 | 1   | - | --rdrop-start-update 50%",
        "both   | g | text-5 | rdrop | 2 | 1     | both |",
        "tuned  | g | text-5 | rdrop | 4 | equal | plain | --rdrop-views 4",
    ]
    plan = read_plan(write(tmp_path, *lines))
    assert [cost(plan, passes) for passes in (1, 2, 4)] == [1, 1.5, 2.5]
    assert [updates_of(plan, row) for row in plan.rows] == [150, 100, 60, 100, 100, 20]
    assert [updates_before(plan, row) for row in plan.rows] == [0, 0, 0, 0, 100, 100]
    assert [computing(plan, row) for row in plan.rows] == [1.5, 1.5, 1.5, 1.25, 3, 1.5]


@pytest.mark.parametrize(
    "line",
    [
        "too | short | text-5",
        "a | g | text-5 | rdrop | many | 1 | - |",
        "a | g | text-5 | rdrop | 2 | some | - |",
        "a | g | text-5 | rdrop | 2 | 1 | other |",
        "a | g | text-5 | rdrop | 2 | equal | both |",
        "a | g | text | rdrop | 2 | 1 | - |",
        "a | g | text-5 | rdrop | 0 | 1 | - |",
        "updates many",
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"^line 3 of .*rows.txt is not a row or a setting: "):
        read_plan(write(tmp_path, line))


def test_two_rows_of_one_name_are_refused(tmp_path):
    line = "twice | g | text-5 | rdrop | 2 | 1 | - |"
    with pytest.raises(ValueError, match="rows.txt has more than one row of the name twice.$"):
        read_plan(write(tmp_path, line, line))


@pytest.mark.parametrize("path", (REPOSITORY / "examples" / "ablations").rglob("rows.txt"))
def test_every_table_of_the_repository_can_be_read(path):
    assert read_plan(path).rows


def test_settings_are_needed(tmp_path):
    with pytest.raises(ValueError, match="must set updates and view_cost"):
        read_plan(write(tmp_path, settings=("updates 5",)))


def test_rows_are_chosen_by_name_or_by_corpus():
    def chosen(pattern):
        return {training.folder for training in matching(trainings(PLAN, 1), pattern)}

    assert chosen("every-*") == {f"multi30k-5000/every-{k}-seed1" for k in (2, 5, 10)}
    assert chosen("multi30k-2000/*") == {f"multi30k-2000/{m}-seed1" for m in ("plain", "rdrop")}


def test_no_row_is_there_twice():
    assert len(NAMED) == len(PLAN.rows)
    folders = [training.folder for training in trainings(PLAN, 3)]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", NAMED)
def test_fairseq_understands_each_row_whose_passes_are_those_of_its_schedule(name):
    """The share of the updates with several views, times the share of the sentences."""
    training = FIRST[name]
    given = parsed(training.arguments)
    passes = (given.update_freq or [1])[0]
    if training.row.method == "addrop":
        passes = 2 if given.no_cross_tuning else 1.5
    elif training.row.method != "plain":
        schedule = Schedule(1.0, given.rdrop_start_update, 0, given.rdrop_every)
        share = mean(schedule.alpha_at(update) for update in range(training.updates))
        views = getattr(given, "rdrop_views", 2)
        passes = 1 + (views - 1) * share * given.rdrop_share
    assert training.row.passes == pytest.approx(passes, abs=0.01)
    assert "%" not in training.arguments


def test_fairseq_understands_each_row_of_addrop():
    plan = read_plan(ROWS.with_name("addrop") / "rows.txt")
    for training in trainings(plan, 1):
        given = parsed(training.arguments)
        drops_attention = training.row.group != "base"
        assert drops_attention == ("--addrop-p" in training.arguments.split())
        assert not drops_attention or (given.addrop_p, given.addrop_q) == (0.3, 0.3)


def test_views_and_schedules_cost_as_much_as_rdrop():
    equal = [row for row in PLAN.rows if row.group in ("views", "schedule")]
    assert {row.updates for row in equal} == {"equal"}
    for row in equal:
        assert computing(PLAN, row) == pytest.approx(computing(PLAN, NAMED["rdrop"]), rel=1e-3)


def test_rows_are_compared_with_plain_training_with_as_much_of_it_and_with_rdrop():
    def compared(name, corpus="multi30k-5000"):
        return list(baselines(PLAN, NAMED[name], corpus).values())

    assert compared("plain") == []
    assert compared("plain-twice") == compared("plain-dropout-0.1") == ["plain"]
    assert compared("plain-batch") == ["plain", "plain-twice"]
    assert compared("rdrop") == ["plain", "plain-twice", "plain-batch"]
    assert compared("plain-batch-twice") == ["plain", "plain-four-times"]
    assert compared("views-4") == ["plain", "plain-twice", "plain-batch", "rdrop"]
    assert compared("every-10") == ["plain", "rdrop"]
    assert baselines(PLAN, NAMED["every-10"], "multi30k-5000") == {
        "plain": "plain",
        "R-Drop": "rdrop",
    }
    assert compared("rdrop-twice") == ["plain", "plain-four-times", "plain-batch-twice", "rdrop"]
    assert compared("rdrop", "multi30k-2000") == ["plain"]
    # other settings than the method are those of the plain row
    assert compared("rdrop-dropout-0.1") == [
        *("plain-dropout-0.1", "plain-twice", "plain-batch", "rdrop")
    ]
    assert compared("rdrop-dropout-0.2") == [
        *("plain-dropout-0.2", "plain-twice-dropout-0.2", "plain-batch", "rdrop")
    ]
    assert compared("rdrop-unclipped") == [
        *("plain-unclipped", "plain-twice", "plain-batch", "rdrop")
    ]
    assert compared("plain-dropout-0.1") == compared("plain-unclipped") == ["plain"]
    assert compared("late-half") == compared("rdrop-cutoff") == compared("views-4")


def test_no_row_is_compared_with_plain_training_after_another(tmp_path):
    lines = [
        "again | g | text-5 | plain | 1 | 1 | plain |",
        "plain | g | text-5 | plain | 1 | 1 | - |",
    ]
    plan = read_plan(write(tmp_path, *lines))
    assert [baselines(plan, row, "text-5") for row in plan.rows] == [{"plain": "plain"}, {}]


def test_what_belongs_to_the_criterion_is_no_setting_of_plain_training():
    plan = read_plan(ROWS.with_name("addrop") / "rows.txt")
    compared = {baselines(plan, row, "multi30k-2000").get("plain") for row in plan.rows}
    assert compared == {None, "plain"}


def test_the_comment_has_the_default_alpha_of_simcut_and_every_row_of_rdrop_its_own():
    (said,) = re.findall(r"SimCut has its default\n# +alpha, (\S+);", ROWS.read_text())
    assert float(said) == parsed(FIRST["simcut"].arguments).reg_alpha
    for row in PLAN.rows:
        assert ("--reg-alpha" in row.arguments.split()) == (row.method == "rdrop")
