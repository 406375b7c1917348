"""The benchmarks for a GPU, tried without one."""

import csv
import re

import pytest
from helpers.constants import REPOSITORY
from helpers.launch import run

from benchmarks import gpu_report, largest_batch

SIZES = {"model": "", "tokens": "8", "classes": "60", "width": "8", "dtype": "float16"}


@pytest.mark.parametrize("truth", [0, 999, 1000, 1001, 1024, 3000, 70000])
def test_the_largest_that_fits_is_found(truth):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= truth

    found = largest_batch.largest(fits, 1000, 0.05)
    assert found <= truth
    assert found > truth / 1.06 or (truth < 1000 and found == 0)
    assert len(tried) < 15


def test_the_search_ends_where_everything_fits():
    assert largest_batch.largest(lambda number: True, 1024, 0.05) == largest_batch.MOST


def rows(benchmark, variants, **changes):
    common = {"benchmark": benchmark, "device": "cuda", "gpu": "A GPU", "torch": "2", **SIZES}
    times = {"minimum_s": "1.0", "median_s": "2.0", "maximum_s": "3.0", "peak_mib": "7"}
    return [{**common, **times, "variant": name, **changes} for name in variants]


def test_the_report_has_the_last_rows_of_each_case(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "r.csv"
    readme.write_text("before\n<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nafter\n")
    old = {"minimum_s": "9.0", "torch": "1"}
    made = rows("loss_head", ["three matrix products", "fused from features"], **old)
    made += rows("loss_head", ["three matrix products"])
    made += rows("loss_head", ["fused from features"], minimum_s="1.25")
    made += rows("largest_batch", ["plain"], minimum_s="", tokens="4321")
    made = rows("loss_head", ["plain, 2N rows"], gpu="Another GPU", minimum_s="8.0") + made
    with open(results, "w", newline="") as file:
        writer = csv.DictWriter(file, made[0])
        writer.writeheader()
        writer.writerows(made)
    (tmp_path / "multi30k--baseline-score.log").write_text("noise\nBLEU 33.1\n")
    (tmp_path / "multi30k--baseline.log").write_text(
        '"train_num_updates": "9"\n"train_num_updates": "10"\n'
        "Stopping training due to cumulative training time of 1 > stop_time_hours: 0.06 hour(s)\n"
    )
    (tmp_path / "multi30k--alpha-score.log").write_text("BLEU 33.2\n")
    gpu_report.main([f"--csv={results}", f"--logs={tmp_path}", f"--readme={readme}"])
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- gpu: end -->\nafter\n")
    assert "| fused from features | 1.250 | 2.000 | 3.000 | 7 | 1.25 |" in text
    assert "old" not in text and "9.000" not in text and "A GPU, PyTorch 2\n" in text
    assert "Another GPU" not in text and "8.000" not in text
    limit = "ended by its time limit"
    assert "4321" in text and f"- `multi30k--baseline` (10 updates, {limit}): BLEU 33.1" in text
    assert "- `multi30k--alpha`: BLEU 33.2" in text


def test_without_rows_the_readme_stays(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("as it was")
    with pytest.raises(SystemExit):
        gpu_report.main([f"--csv={tmp_path / 'r'}", f"--logs={tmp_path}", f"--readme={readme}"])
    assert "has no rows of cuda" in capsys.readouterr().err
    assert readme.read_text() == "as it was"


def test_the_project_s_readme_has_the_section():
    text = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert len(gpu_report.SECTION.findall(text)) == 1


@pytest.mark.slow
def test_the_whole_command_on_the_cpu(tmp_path, shared_data):
    """To its end, each step of it; nothing but --out changes."""
    before = (REPOSITORY / "benchmarks" / "results.csv").read_text()
    archives = f"{shared_data / 'multi30k'}"
    script = REPOSITORY / "benchmarks" / "gpu.sh"
    done = run("bash", script, "--tiny", "--out", tmp_path / "out", "--multi30k", archives)
    assert "FAILED" not in done.stdout and "==> all done" in done.stdout
    report = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (section,) = gpu_report.SECTION.findall(report)
    for part in ("loss_head: ", "train_step: ", "largest_batch: ", "multi30k--alpha", "BLEU"):
        assert part in section
    assert "`multi30k--baseline` (4 updates): " in section
    assert (REPOSITORY / "benchmarks" / "results.csv").read_text() == before


def test_only_some_steps(tmp_path):
    script, out = REPOSITORY / "benchmarks" / "gpu.sh", tmp_path / "out"
    nowhere = ("--out", out, "--multi30k", tmp_path / "nowhere")  # which this step does not need
    done = run("bash", script, "--tiny", "--only", "loss_head-60", *nowhere)
    assert re.findall(r"==> ([\w-]+): done", done.stdout) == ["loss_head-60-float32"]
    (section,) = gpu_report.SECTION.findall((out / "README.md").read_text(encoding="utf-8"))
    assert "loss_head: " in section and "train_step: " not in section


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "all"], "no step begins with 'all'; see --help"),
        (["--multi30k", "nowhere"], "there is no folder 'nowhere' with Multi30k; see --help"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, arguments, message):
    script = REPOSITORY / "benchmarks" / "gpu.sh"
    done = run("bash", script, "--tiny", *arguments, "--out", tmp_path, check=False)
    assert done.returncode == 2 and message in done.stdout


def test_without_a_gpu_it_says_so(tmp_path):
    script = REPOSITORY / "benchmarks" / "gpu.sh"
    done = run("bash", script, "--out", tmp_path, "--multi30k", tmp_path, check=False)
    assert done.returncode == 1
    assert "PyTorch finds no GPU here; --tiny tries the script on the CPU" in done.stdout
