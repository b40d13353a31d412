"""The notebooks' imports of the package exist, so that a name that moved is noticed before a notebook runs."""

import ast
import importlib
import json

import pytest
from tiny import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def imported_names(notebook):
    """Every `(module, name)` that a notebook imports from the package."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        code = "".join(line for line in cell["source"] if not line.lstrip().startswith(("%", "!")))
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frontpage"):
                yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_what_a_notebook_imports_from_the_package_is_there(notebook):
    names = list(imported_names(notebook))
    assert names
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), f"{notebook.name}: {module} has no {name}"
