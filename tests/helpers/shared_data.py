"""Real text next to the checkout: a fixture, and a count of the tests that ran on it.

A plugin of pytest, which tests/conftest.py names.
"""

from pathlib import Path

import pytest

from helpers.constants import REPOSITORY

FOLDER = REPOSITORY.parent / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--require-shared-data",
        action="store_true",
        help=f"fail unless every test that needs the real text in {FOLDER} ran",
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text next to the checkout; without it the test is skipped."""
    if not FOLDER.is_dir():
        pytest.skip(f"needs the real text in {FOLDER}, which is not there")
    return FOLDER


def pytest_collection_modifyitems(items):
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared_data")


def _counts(reporter) -> list:
    """How many tests ran on the real text, and how many were skipped."""
    kinds = [("passed", "failed"), ("skipped",)]
    reports = [[r for kind in some for r in reporter.stats.get(kind, ())] for some in kinds]
    return [
        sum("shared_data" in getattr(report, "keywords", ()) for report in some) for some in reports
    ]


def _lacks_what_is_required(reporter) -> bool:
    ran, skipped = _counts(reporter)
    return reporter.config.getoption("--require-shared-data") and (skipped or not ran)


def pytest_terminal_summary(terminalreporter):
    ran, skipped = _counts(terminalreporter)
    if ran or skipped:
        terminalreporter.write_line(f"shared data: {ran} tests ran on it, {skipped} skipped")
    if _lacks_what_is_required(terminalreporter):
        terminalreporter.write_line("--require-shared-data: every one of them has to run", red=True)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and _lacks_what_is_required(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
