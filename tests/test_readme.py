"""What the README promises is what the code does, and its commands are what continuous integration runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import sonic_ext
from sonic_ext import errors, weights
from sonic_ext.cli import main as cli
from sonic_ext.hosts.comfy import values
from sonic_ext.provenance.consent import Basis

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
DOCS = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BASH = shutil.which("bash")


def _doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _commands(block: str) -> list[list[str]]:
    """Words of every command; each must lead to the next by `&&`."""
    joined = block.replace("\\\n", " ").strip()
    return [shlex.split(part) for part in re.split(r"&&\s*", joined)]


def _maker(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sonic_docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_the_codes_own() -> None:
    tables = _maker("tables")
    for path in tables.TABLES:
        assert tables.filled(path) == path.read_text(encoding="utf-8"), "run: nox -s tables"


def test_cards_are_those_that_were_measured(tmp_path: Path) -> None:
    cards = _maker("cards")
    assert cards.page() == (ROOT / "docs" / "cards.md").read_text(encoding="utf-8"), "run: nox -s tables"
    assert "No card yet" in cards.page(tmp_path)
    rows = [{"rung": "branches", "s": 0.25, "passed": True}, {"note": "A sentence."}]
    section = {"title": "One call", "status": "done", "why": "", "seconds": 9, "rows": rows}
    for name, began, tiny in (("A", "2026-01-02T10", False), ("B", "2026-01-03T09", False), ("C", "", True)):
        facts = {"date": began[:10], "began": began, "seconds": 200, "sections": {"unet": section}}
        card = {"name": f"Card {name}", "memory": 24 * 10**9, "tiny": tiny}
        (tmp_path / f"{name}.json").write_text(json.dumps({**facts, "card": card}), encoding="utf-8")
    page = cards.page(tmp_path)
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Card B, 2026-01-03", "Card A, 2026-01-02"]
    assert "| rung | s | passed |\n| --- | --- | --- |\n| branches | 0.25 | yes |\n\nA sentence.\n" in page


def test_first_block_makes_a_video_and_verifies_that_one() -> None:
    venv, install, animate, verify = _commands(_blocks("sh")[0])
    assert venv == ["python3", "-m", "venv", ".venv"]
    assert install[:4] == [".venv/bin/python", "-m", "pip", "install"] and install[-1] == "."
    assert animate[0] == verify[0] == ".venv/bin/sonic"
    options = cli.parser().parse_args(animate[1:])
    assert (ROOT / options.portrait).is_file() and (ROOT / options.audio).is_file()
    assert options.overwrite, "the command must be good for a second time"
    assert {options.consent_face, options.consent_voice} <= {str(basis) for basis in Basis}
    assert cli.parser().parse_args(verify[1:]).file == options.output


def test_second_block_runs_nox_and_nothing_less() -> None:
    venv, install, tests = _commands(_blocks("sh")[1])
    assert venv == ["python3", "-m", "venv", ".venv"]
    assert install[-1] == "nox"
    assert tests == [".venv/bin/nox"]


@pytest.mark.parametrize("number", [0, 1])
def test_windows_is_told_the_same(number: int) -> None:
    unix = [word.rpartition("/")[2] for words in _commands(_blocks("sh")[number]) for word in words]
    windows = [
        word.rpartition("\\")[2]
        for line in _blocks("powershell")[number].splitlines()
        for word in line.split(" ")
    ]
    assert [word for word in windows if word not in ("py", "-3.11")] == [
        word for word in unix if word != "python3"
    ]


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("number", [1, 2])
def test_ci_reads_its_commands_from_the_readme(number: int) -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    reader = script[script.index("block() {") : script.index("run_block() {")]
    words = [str(BASH), "-c", f"{reader}\nblock {number}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == _blocks("sh")[number - 1]
    assert f"run_block {number}" in script


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_shell_scripts_and_blocks_parse() -> None:
    for text in [(ROOT / ".ci" / "run").read_text(encoding="utf-8"), *_blocks("sh")]:
        subprocess.run([str(BASH), "-n"], input=text, text=True, check=True)


def test_python_example_is_four_statements_on_the_exported_names() -> None:
    (example,) = _blocks("python", _doc("python.md"))
    assert len(ast.parse(example).body) == 4
    used = set(re.findall(r"sonic_ext\.(\w+)", example))
    assert used <= set(sonic_ext.__all__)
    assert example.strip() == _indented_example(sonic_ext.__doc__ or "")


def _indented_example(doc: str) -> str:
    lines = [line for line in doc.splitlines() if not line or line.startswith("    ")]
    return "\n".join(line.removeprefix("    ") for line in lines).strip()


def test_exit_codes_listed_are_those_of_the_errors() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", _doc("cli.md"), re.MULTILINE)}
    raised = {error.exit_code for error in errors.tree()}
    assert raised | {0} <= listed


def test_every_command_of_the_command_line_is_listed() -> None:
    names = set(re.findall(r"^\| `sonic (\w+)", _doc("cli.md"), re.MULTILINE))
    (actions,) = (action.choices for action in cli.parser()._actions if action.dest == "command")
    assert actions is not None and names == set(actions)


def test_every_variable_of_the_environment_is_listed() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "sonic_ext").rglob("*.py"))
    read = set(re.findall(r"\"(SONIC_[A-Z0-9_]+)\"", "\n".join(sources)))
    sockets = {values.JOB, values.TAKE, values.ENGINE}
    assert read - sockets == set(re.findall(r"`(SONIC_[A-Z0-9_]+)`", _doc("cli.md"))) != set()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_to_files_and_their_chapters(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target, chapter in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not chapter or chapter in _chapters(file), f"{target}#{chapter}"


def _chapters(path: Path) -> set[str]:
    """Anchors of the headings of a document, as the web sites make them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:sonic_ext|tests|benchmarks|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_chinese_readme_has_the_same_commands() -> None:
    for language in ("sh", "powershell"):
        assert _blocks(language, CHINESE) == _blocks(language)


def test_chinese_readme_links_to_the_same_places_in_the_same_order() -> None:
    places = r"\]\((?!README)([^)#]+)"
    assert re.findall(places, CHINESE) == re.findall(places, README) != []


def test_chinese_readme_has_as_many_chapters_and_names_the_same_commands_and_options() -> None:
    for what in (r"^## ", r"`(?:\.venv/bin/)?sonic [^`]*`"):
        found = [re.findall(what, text, re.MULTILINE) for text in (README, CHINESE)]
        assert found[0] == found[1] != []


def test_licence_of_every_weight_is_named() -> None:
    cells = (line.strip("| ").split(" | ") for line in _doc("weights.md").splitlines())
    listed = {row[0].strip("`"): row[4] for row in cells if len(row) > 4}
    for part in weights.PARTS:
        assert listed[part.name].startswith(part.licence.name)


def test_entry_for_the_list_of_extensions_is_whole() -> None:
    entry = json.loads((ROOT / "docs" / "extension-index" / "sonic.json").read_text(encoding="utf-8"))
    assert set(entry) == {"name", "url", "description", "tags"}
    assert all(entry.values())
