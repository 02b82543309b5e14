"""What may run again and what is said of a failure: tried on small tests of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from browser_reports import LINES, WIDTH, reruns_line, shortened

pytest.importorskip("pytest_rerunfailures", reason="nothing runs again without it: install the extra `test`")
pytest_plugins = ["pytester"]

CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import pytest
from browser_reports import (
    pytest_collection_modifyitems, pytest_configure, pytest_runtest_makereport, pytest_terminal_summary,
)

@pytest.fixture(scope="module")
def browser():
    return None
"""
TESTS = """
from pathlib import Path

def test_always(browser):
    assert 0, "of no use"

def test_once(browser, request):
    tried = Path(request.config.rootpath, "tried")
    before = tried.exists()
    tried.touch()
    assert before

def test_well(browser):
    pass

def test_without_a_browser():
    assert 0
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests with the hooks; what they keep of failures lies in it, too."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(pytester.path))
    pytester.makeconftest(CONFTEST)
    return pytester


@pytest.mark.parametrize("beside", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "with xdist"])
def test_a_constant_failure_stays_red(project: pytest.Pytester, beside: tuple[str, ...]) -> None:
    project.makepyfile(test_browser=TESTS)
    done = project.runpytest_subprocess("-p", "no:cacheprovider", *beside)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert {name: done.parseoutcomes()[name] for name in ("passed", "failed", "rerun")} == {
        "passed": 2,
        "failed": 2,
        "rerun": 3,
    }
    done.stdout.fnmatch_lines_random(["FAILED *::test_always*", "FAILED *::test_without_a_browser*"])
    done.stdout.fnmatch_lines(["*::test_always: test_browser.py:4: AssertionError: of no use"])
    done.stdout.fnmatch_lines(["reruns: 3 (test_always ×2, test_once)"])


def test_only_tests_of_the_browser_may_run_again(project: pytest.Pytester) -> None:
    project.makepyfile("import pytest\n@pytest.mark.flaky(reruns=5)\ndef test_other():\n    assert 0")
    done = project.runpytest_subprocess("-p", "no:cacheprovider")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*::test_other: only tests of the browser may run again."])


def test_a_page_is_not_dumped_but_kept(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_page(browser):
            page = "<div>" * 5000
            print("what the test printed")
            message = f"Locator expected to contain text\\nActual value: {page}\\nCall log:\\n - one\\n - two"
            assert "Traceback" in page, message
        """
    )
    done = project.runpytest_subprocess("-p", "no:cacheprovider")
    assert max(map(len, done.stdout.lines)) < 2 * WIDTH
    assert len(done.stdout.lines) < 40
    assert not any("what the test printed" in line for line in done.stdout.lines)
    # With CI set, pytest's short summary holds the whole message again.
    kept = {line.partition("All of it: ")[2] for line in done.stdout.lines if line.startswith("All of it: ")}
    texts = [Path(folder, "failure.txt").read_text(encoding="utf-8") for folder in kept]
    assert len(texts) == 3
    assert all("<div>" * 5000 in text and "what the test printed" in text for text in texts)


def test_messages_are_shortened() -> None:
    long = "x" * 1000
    told = shortened(
        f"Error: {long}\n\n  two\n" + "more\n" * 20 + "Call log:\n\n  - waiting for it\n  - again"
    )
    assert told.splitlines() == [
        "Error: " + long[: WIDTH - 7] + "…",
        "two",
        "more",
        "more",
        "- waiting for it",
    ]
    assert len(told.splitlines()) == LINES + 1


def test_reruns_are_counted() -> None:
    assert reruns_line(Counter()) == "reruns: 0"
    assert reruns_line(Counter(["a", "b", "a"])) == "reruns: 3 (a ×2, b)"
