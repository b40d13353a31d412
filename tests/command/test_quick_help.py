"""Promise of `train.py --help` and of completion: they wait for none of the imports that training needs."""

import subprocess
import sys

from tiny import ROOT

SHOW = """
import runpy, sys
sys.argv = ["train.py", *sys.argv[1:]]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as ended:
    print("status", ended.code, "slow imports:", [name for name in ("torch", "lightning") if name in sys.modules])
"""


def shown(*words):
    return subprocess.run([sys.executable, "-c", SHOW, *words], cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_completion_imports_neither_torch_nor_lightning():
    ended = shown("--shell-completion", "install=bash")
    assert ended.returncode == 0 and "hydra_bash_completion" in ended.stdout
    assert ended.stdout.endswith("status 0 slow imports: []\n")


def test_help_is_whole_and_imports_neither_torch_nor_lightning():
    ended = shown("--help")
    assert ended.returncode == 0 and ended.stderr == ""
    assert ended.stdout.startswith("train is powered by Hydra.") and "experiment: " in ended.stdout
    assert ended.stdout.endswith("status 0 slow imports: []\n")
