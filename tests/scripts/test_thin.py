"""Promises of the scripts' files: they read a command line and print, and what they compute lies in the package."""

import ast
import io
import tokenize

import pytest
from tiny import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
LONGEST = 90  # lines of code: the most options, or a report of several tables, take so many
COMPUTE = {"torch", "lightning", "numpy", "optuna", "subprocess", "concurrent", "threading", "csv"}


def code_lines(text):
    """Lines with code on them: no blank ones, no comments, no docstrings."""
    unwanted = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in unwanted:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            lines -= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return len(lines)


def imported(tree):
    """The names of the imported modules, wherever they are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_lines_of_code_are_counted():
    assert code_lines('"""Two\nlines."""\n\n# none\nx = (  # one\n    1\n)\n') == 3


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_computes_nothing(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert code_lines(text) <= LONGEST
    types = {"numpy"} if path.stem == "generate" else set()  # the hashes that it hands on are an array, by their type
    assert {name.split(".")[0] for name in imported(tree)} & COMPUTE <= types
    assert not [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_hears_ctrl_c_before_all_else(path):
    """And sends warnings to stdout: `program` is its first import, its `main` what `program` runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert next(imported(tree)) == "frontpage.command.program"
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    program(main)"
