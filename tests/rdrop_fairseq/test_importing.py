"""A loss needs PyTorch alone; the plugin registers when fairseq is imported, in any order."""

import pytest
from helpers.launch import run

CHECK = """
import fairseq
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.trainer import Trainer
assert "rdrop_label_smoothed_cross_entropy" in CRITERION_REGISTRY
patched = Trainer.get_train_iterator
assert "compat" in patched.__code__.co_filename
assert "compat" not in patched.__wrapped__.__code__.co_filename  # once
"""
LOSS = "from rdrop_fairseq.losses.reference import rdrop_loss\n"


def python(code, **options):
    """Run code in a process of its own; return what it printed."""
    return run("python", "-c", code, **options).stdout


@pytest.fixture
def broken(tmp_path):
    """A folder with a fairseq that cannot be imported."""
    package = tmp_path / "fairseq"
    package.mkdir()
    (package / "__init__.py").write_text("raise ValueError('mutable default')\n")
    return tmp_path


@pytest.mark.parametrize("name", ["reference", "distances", "fused"])
def test_a_loss_imports_neither_fairseq_nor_what_only_fairseq_needs(name):
    loss = f"rdrop_fairseq.losses.{name}"
    modules = python(f"import {loss}, sys; print(*sys.modules)").split()
    assert "torch" in modules and loss in modules
    assert not {"fairseq", "omegaconf", "hydra", "rdrop_fairseq.compat"} & set(modules)


def test_printing_the_folder_imports_not_even_torch():
    code = "import sys, rdrop_fairseq.__main__; print('torch' in sys.modules)"
    assert python(code) == "False\n"


def test_a_loss_works_next_to_a_broken_fairseq_whose_error_stays_its_own(broken):
    code = f"{LOSS}try: import fairseq\nexcept ValueError as error: print(error)"
    assert python(code, cwd=broken) == "mutable default\n"


def test_a_loss_works_where_fairseq_is_blocked():
    python(f"import sys; sys.modules['fairseq'] = None\n{LOSS}")


REPAIRED = """
import importlib, shutil, sys
import rdrop_fairseq
try: import fairseq
except ValueError: pass
else: raise SystemExit("not broken")
shutil.rmtree("fairseq")
importlib.invalidate_caches()
"""


def test_registers_when_fairseq_can_be_imported_at_last(broken):
    python(REPAIRED + CHECK, cwd=broken)


@pytest.mark.parametrize(
    "code",
    [
        "import rdrop_fairseq",
        "import fairseq, rdrop_fairseq",
        "import rdrop_fairseq; from fairseq_cli import train",
        "import rdrop_fairseq.heads",
        "import rdrop_fairseq.criterions.base",
        "import rdrop_fairseq.compat.checkpoints",
        "import rdrop_tools.runs.averaging",
        "import importlib, rdrop_fairseq; importlib.reload(rdrop_fairseq)",
        "import importlib, fairseq, rdrop_fairseq; importlib.reload(rdrop_fairseq)",
    ],
)
def test_registers_once_whatever_is_imported_first(code):
    python(code + CHECK)


DURING = """
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

class UsesTheLoss(MetaPathFinder):
    '''Lets a module of fairseq begin with the import of a loss.'''

    def find_spec(self, name, path=None, target=None):
        if name != "{module}":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module

        def execute_with_loss(module):
            from rdrop_fairseq.losses.reference import rdrop_loss
            execute(module)

        spec.loader.exec_module = execute_with_loss
        return spec

sys.meta_path.insert(0, UsesTheLoss())
import fairseq
assert "rdrop_fairseq" in sys.modules
"""


@pytest.mark.parametrize("module", ["distributed", "criterions", "models.transformer", "benchmark"])
def test_a_file_of_fairseq_may_use_a_loss(module):
    python(DURING.format(module=f"fairseq.{module}") + CHECK)


THREADS = """
import threading
other = threading.Thread(target=__import__, args=("fairseq",))
other.start()
import rdrop_fairseq
other.join()
"""


def test_registers_while_another_thread_imports_fairseq():
    python(THREADS + CHECK)


SPAWN = """
import multiprocessing
from rdrop_fairseq.criterions.rdrop_label_smoothed_cross_entropy import (
    RDropLabelSmoothedCrossEntropyCriterion as Criterion
)

def check(criterion):
    from fairseq.criterions import CRITERION_REGISTRY
    assert criterion is CRITERION_REGISTRY["rdrop_label_smoothed_cross_entropy"]

if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        process = multiprocessing.get_context(method).Process(target=check, args=(Criterion,))
        process.start()
        process.join()
        print(method, process.exitcode)
"""


def test_other_processes_get_the_criterion(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SPAWN)
    printed = run("python", program).stdout.split("\n")
    assert {"spawn 0", "forkserver 0", "fork 0"} <= set(printed)
