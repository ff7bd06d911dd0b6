"""The shape of the source: who imports whom, how long things are, what they are called."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.scripts import load_scripts
from tests.architecture.conftest import ROOT, source_files

LONGEST_FILE_LINES = 400
LONGEST_FUNCTION_LINES = 60
BANNED_WORDS = {"manager", "helper", "helpers", "util", "utils", "worker", "workers"}

LUA_FILES = sorted((ROOT / "common" / "lua").glob("*.lua"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of its body: a command line's options, declared as parameters, are a table."""
    return (function.end_lineno or function.lineno) - function.body[0].lineno + 1


def test_the_import_contracts_hold() -> None:
    # In a process of its own: import-linter silences every logger that exists already.
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files(".py", ".lua", tests=True)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name} {lines_of(function)}"
        for path in source_files(".py")
        for function in functions(path)
        if lines_of(function) > LONGEST_FUNCTION_LINES
    ]
    assert long == []


def test_no_file_is_named_by_a_word_that_says_nothing() -> None:
    named = [
        str(path.relative_to(ROOT))
        for path in source_files(".py", ".lua", tests=True)
        if BANNED_WORDS & set(re.split(r"[_.-]", path.name.lower()))
    ]
    assert named == []


def test_every_module_says_in_one_sentence_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in source_files(".py", tests=True)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


READERS = ("least", "look", "overdue", "survey", "tally")
"""Scripts that change nothing, and say so."""


def test_there_are_scripts() -> None:
    assert len(LUA_FILES) >= 11


@pytest.mark.parametrize("path", LUA_FILES, ids=lambda path: path.stem)
def test_a_script_begins_with_what_it_is_takes_and_answers(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    # A full Redis refuses new jobs, and nothing that ends one.
    flags = {"submit": ""} | dict.fromkeys(READERS, " flags=no-writes,allow-oom")
    assert lines[0] == f"#!lua{flags.get(path.stem, ' flags=allow-oom')}"
    assert lines[1].startswith(f"-- {path.stem}: ")
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith(("#!", "--")))]
    named = [found[1] for line in header if (found := re.match(r"-- ([A-Z]+):", line))]
    assert named == ["KEYS", "ARGV", "RETURNS"]


@pytest.mark.parametrize("path", LUA_FILES, ids=lambda path: path.stem)
def test_a_script_answers_with_the_words_of_its_header(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    said = re.search(r"^-- RETURNS: (.+)$", text, re.MULTILINE)
    assert said is not None
    words = {answer.split()[0] for answer in said[1].split(" | ")}
    returned = set(re.findall(r"^\s*return \{ '([A-Z_]+)'", text, re.MULTILINE))
    if "string.upper(outcome)" in text:
        returned |= {"DEAD", "CANCELLED", "EXPIRED"}
    assert returned == words


@pytest.mark.parametrize("path", LUA_FILES, ids=lambda path: path.stem)
def test_a_script_searches_no_keyspace_and_never_loops_for_ever(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"call\('(KEYS|SCAN|FLUSH\w*)'", text)
    assert not re.search(r"^\s*(while|repeat)\b", text, re.MULTILINE)


def test_every_script_is_called_and_no_other() -> None:
    builders = (ROOT / "common" / f"{name}.py" for name in ("calls", "looks", "steering"))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in builders]
    called = {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_call"
        and isinstance(node.args[0], ast.Constant)
    }
    assert called == set(load_scripts()) == {path.stem for path in LUA_FILES}
