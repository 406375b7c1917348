"""The option parser of the shell scripts, by a little program that declares some of each kind."""

import os
import re
import subprocess

import pytest
from helpers import launch
from helpers.constants import EXAMPLES, REPOSITORY

PROGRAM = f"""#!/usr/bin/env bash
set -euo pipefail
. {EXAMPLES.parent}/lib/options.sh

refuse() {{ echo "program: $*; see --help." >&2; exit 2; }}
usage() {{ echo "Usage: program"; describe_options; }}

option seed N 1 "of the random numbers"
option alpha X 0.5 "weight"
option subset 'test|valid' test "which sentences"
option out_dir DIR '' "where everything goes (here)"
option name NAME none "of all"
flag cpu "no GPU"
argument run
pass_on extra
parse_options "$@"
printf '%s\\0' "$seed" "$alpha" "$subset" "$out_dir" "$name" "$cpu" "$run" "${{extra[@]}}"
"""
DEFAULTS = {
    **{"seed": "1", "alpha": "0.5", "subset": "test", "out_dir": "", "name": "none"},
    **{"cpu": "", "run": "", "extra": []},
}


def test_numbers_have_a_point_in_every_language(tmp_path):
    awk = tmp_path / "awk"  # stands for one that writes a comma where the language does
    awk.write_text('#!/bin/sh\n[ "$LC_ALL" = C ] && echo 0.5 || echo 0,5\n')
    awk.chmod(0o755)
    library = EXAMPLES.parent / "lib" / "common.sh"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "de_DE.UTF-8"}
    said = launch.run("bash", "-c", f". {library}; calculate 1/2", env=environment).stdout
    assert said.splitlines()[-1] == "0.5"


def test_a_program_is_found_where_cd_prints_where_it_goes(tmp_path):
    words = ("examples/translation/train.sh", "iwslt14_de_en", "--help")
    environment = {**os.environ, "CDPATH": "."}
    said = launch.run("bash", *words, cwd=REPOSITORY, env=environment).stdout
    assert said.startswith("Usage: bash examples/translation/train.sh iwslt14_de_en")


@pytest.fixture
def call(tmp_path):
    """Run the program in an empty folder, which it must leave so; return status, output, errors."""
    folder = tmp_path / "empty"
    folder.mkdir()
    program = tmp_path / "program.sh"
    program.write_text(PROGRAM)

    def call(*words):
        environment = {"PATH": "/usr/bin:/bin", "seed": "7", "cpu": "yes", "extra": "x"}
        options = {"cwd": folder, "env": environment, "stderr": subprocess.PIPE}
        finished = launch.run("bash", program, *words, check=False, **options)
        assert list(folder.iterdir()) == []
        return finished.returncode, finished.stdout, finished.stderr

    return call


@pytest.fixture
def read(call):
    """Run the program, which must succeed; return its variables that differ from the defaults."""

    def read(*words):
        status, output, errors = call(*words)
        assert (status, errors) == (0, "")
        *values, _ = output.split("\0")
        named = dict(zip(DEFAULTS, [*values[:7], values[7:]]))
        return {name: value for name, value in named.items() if value != DEFAULTS[name]}

    return read


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ((), {}),
        (("--seed", "12"), {"seed": "12"}),
        (("--out-dir", "a/b"), {"out_dir": "a/b"}),
        (("--cpu",), {"cpu": "yes"}),
        (("--subset", "valid"), {"subset": "valid"}),
        (("--name", ""), {"name": ""}),
        (("--name", "--cpu"), {"name": "--cpu"}),
        (("--seed", "2", "--seed", "3"), {"seed": "3"}),
        (("a-run", "--cpu"), {"run": "a-run", "cpu": "yes"}),
        (("--cpu", "a-run"), {"run": "a-run", "cpu": "yes"}),
        (("--", "--lr", "7", "--cpu"), {"extra": ["--lr", "7", "--cpu"]}),
        (("r", "--", "", "two words", "--"), {"run": "r", "extra": ["", "two words", "--"]}),
    ],
)
def test_a_declared_variable_is_an_option(read, words, changed):
    assert read(*words) == changed


@pytest.mark.parametrize("number", ["5", "-1", "0.6", ".5", "5.", "1e-4"])
def test_a_number(read, number):
    assert read("--alpha", number) == {"alpha": number}


WHOLE, CHOICE = "must be a whole number above 0, not", "--subset is test or valid, not"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--speed",), "unknown option --speed"),
        (("-s",), "unknown option -s"),
        (("--seed=2",), "unknown option --seed=2"),
        (("--out_dir", "x"), "unknown option --out_dir"),
        (("--seed",), "--seed needs a value"),
        (("--cpu", "--name"), "--name needs a value"),
        *(
            (("--seed", wrong), f"--seed {WHOLE} '{wrong}'")
            for wrong in ("0", "08", "-1", "1.5", "")
        ),
        *(
            (("--seed", wrong), f"--seed {WHOLE} '{wrong}'")
            for wrong in ("x", "1 2", "1\n2", "seed")
        ),
        *(
            (("--alpha", no), f"--alpha must be a number, not '{no}'")
            for no in ("", ".", "a", "1-2")
        ),
        *((("--subset", no), f"{CHOICE} '{no}'") for no in ("train", "", "test|valid", "|", "*")),
        (("one", "two"), "unexpected argument 'two'"),
        (("one", ""), "unexpected argument ''"),
    ],
)
def test_what_was_not_declared_is_refused(call, words, message):
    assert call(*words) == (2, "", f"program: {message}; see --help.\n")


HOSTILE = (
    "$(touch made)",
    "`touch made`",
    "'; touch made; '",
    '"; touch made; "',
    "a[$(touch made)]",
    "($(touch made))",
    "x;touch made",
    "two  words\tand\na 'quote' \"or\" more \\",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_kept_and_never_evaluated(call, read, text):
    assert read("--name", text, text, "--", text) == {"name": text, "run": text, "extra": [text]}
    for option in ("--seed", "--alpha", "--subset"):
        status, output, errors = call(option, text)
        assert (status, output) == (2, "") and text in errors
    for option in (f"--{text}", f"--seed[{text}]", f"--x]{text}"):
        assert call(option) == (2, "", f"program: unknown option {option}; see --help.\n")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_made_of_the_declarations(call, word):
    status, output, errors = call("--cpu", word)
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "Usage: program",
        "  --seed N              of the random numbers (1)",
        "  --alpha X             weight (0.5)",
        "  --subset test|valid   which sentences (test)",
        "  --out-dir DIR         where everything goes (here)",
        "  --name NAME           of all (none)",
        "  --cpu                 no GPU",
        "  --help                this text",
    ]


def test_arguments_and_what_follows_dashes_must_be_declared(tmp_path):
    program = tmp_path / "program.sh"
    program.write_text(re.sub("(?m)^(argument run|pass_on extra|printf.*)\n", "", PROGRAM))
    for words, message in {"a": "unexpected argument 'a'", "--": "unknown option --"}.items():
        finished = launch.run("bash", program, words, check=False, stderr=subprocess.PIPE)
        assert (finished.returncode, finished.stderr) == (2, f"program: {message}; see --help.\n")
