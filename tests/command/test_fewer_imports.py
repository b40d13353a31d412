"""Promise of every program's start: Lightning is there, and what torchmetrics would import beside it is not."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from tiny import ROOT

from frontpage.command.fewer_imports import LEFT_ALONE

SHOW = """
import sys
sys.argv = ["train.py"]
import train
import torchmetrics.functional.audio
names = "matplotlib scipy transformers PIL pyarrow".split()
print([name for name in names if name in sys.modules])
import matplotlib.pyplot, scipy.signal
from scipy.signal.windows import hamming
print(len(hamming(4)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("scipy") and find_spec("matplotlib")), reason="needs scipy and matplotlib to avoid")
def test_a_program_starts_without_what_it_does_not_need_and_can_import_it_later():
    ended = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n4\n", "")


def test_of_all_other_packages_lightning_hears_the_truth():
    import lightning  # noqa: F401 - which imports torchmetrics, from when on it holds
    from lightning_utilities.core.imports import RequirementCache, package_available

    assert package_available("torch") and RequirementCache("torch>=2")
    assert not package_available("none_such") and not RequirementCache("none_such>=1")
    assert not any(package_available(name) or RequirementCache(name) for name in LEFT_ALONE)
