"""Promises of the script that runs notebooks: every cell runs, one that fails is told with its traceback and a 1."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from programs import run_script
from tiny import ROOT

PATIENCE = 120  # seconds after which a program hangs


def write(path, *sources):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# x"), *map(new_code_cell, sources)]), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_each_notebook_runs_to_its_end_or_to_the_cell_that_fails(tmp_path, capfd, jobs):
    leave = "import pathlib; pathlib.Path('{}').write_text(str(x))"
    good = write(tmp_path / "a_good.ipynb", "x = 6 * 7", leave.format("good.txt"))
    write(tmp_path / "b_bad.ipynb", "x = 1", "print(1 / 0)", leave.format("bad.txt"))
    before = good.read_bytes()
    copies = tmp_path / "copies"
    ended = run_script(capfd, "notebooks", tmp_path, "--jobs", jobs, "--output", copies)
    assert (ended.status, ended.stderr) == (1, "notebooks with a cell that fails: b_bad\n")
    assert "a_good: ran, " in ended.stdout and "b_bad: FAILED, " in ended.stdout
    assert "b_bad.ipynb, cell 2:" in ended.stdout and "ZeroDivisionError: division by zero" in ended.stdout
    assert (tmp_path / "good.txt").read_text() == "42" and not (tmp_path / "bad.txt").exists()
    assert good.read_bytes() == before
    done, broken = (nbformat.read(copies / f"{name}.ipynb", as_version=4) for name in ("a_good", "b_bad"))
    assert [cell.get("execution_count") for cell in done.cells] == [None, 1, 2]
    assert broken.cells[2].outputs[0]["ename"] == "ZeroDivisionError" and broken.cells[3].execution_count is None
    assert run_script(capfd, "notebooks", tmp_path, "-k", "good", "--output", copies).status == 0
    done.cells[1].source = "x = 6 * 8"
    nbformat.write(done, copies / "a_good.ipynb")
    mine = (copies / "a_good.ipynb").read_bytes()
    refused = run_script(capfd, "notebooks", tmp_path, "-k", "good", "--output", copies)
    assert refused.status == 2 and "a_good.ipynb: is no copy of this version's notebook" in refused.stderr
    assert (copies / "a_good.ipynb").read_bytes() == mine


@pytest.mark.slow
@pytest.mark.parametrize(("said", "jobs", "threads"), [(None, 64, "1"), ("3", 2, "3")])
def test_kernels_share_the_cores_unless_the_user_says_otherwise(tmp_path, capfd, monkeypatch, said, jobs, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    write(tmp_path / "x.ipynb", "import os, pathlib; pathlib.Path('n').write_text(os.environ['OMP_NUM_THREADS'])")
    assert run_script(capfd, "notebooks", tmp_path, "--jobs", jobs, "--output", tmp_path / "copies").status == 0
    assert (tmp_path / "n").read_text() == threads


@pytest.mark.slow
def test_a_cell_without_end_is_stopped(tmp_path, capfd):
    write(tmp_path / "slow.ipynb", "import time; time.sleep(600)")
    ended = run_script(capfd, "notebooks", tmp_path / "slow.ipynb", "--timeout", 1, "--output", tmp_path / "copies")
    assert ended.status == 1 and "slow.ipynb, cell 1:" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_kernel_without_a_traceback(tmp_path, number):
    begun = tmp_path / "begun"
    write(
        tmp_path / "slow.ipynb", f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    command = [sys.executable, "scripts/notebooks.py", str(tmp_path), "--output", str(tmp_path / "copies")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        wait_until(lambda: begun.exists() and begun.read_text())
        program.send_signal(number)
        assert program.communicate(timeout=PATIENCE) == ("interrupted\n", "") and program.returncode == 130
    wait_until(lambda: not os.path.exists(f"/proc/{begun.read_text()}"))


def wait_until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


MISTAKES = {
    "no such file": (["{folder}/none.ipynb"], "none.ipynb: a notebook, or a folder of some"),
    "an empty folder": (["{folder}"], "no notebook to run: -k not given, and there are none"),
    "a name that none has": (["{folder}/x", "-k", "y"], "no notebook to run: -k y, and there are x"),
    "no notebook": (["{folder}/x/x.ipynb", "--output", "{folder}/copies"], "x.ipynb: no notebook ("),
    "its own folder": (["{folder}/x", "--output", "{folder}/x"], "another folder than that of the notebooks"),
    "one name twice": (["{folder}/x", "{folder}/x/x.ipynb", "--output", "{folder}/copies"], "one of each name"),
    "a file": (["{folder}/x", "--output", "{folder}/x/x.ipynb"], "a folder that can be written (File exists)"),
    "timeout": (["--timeout", "-1"], "--timeout"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2(mistake, tmp_path, capfd):
    arguments, said = MISTAKES[mistake]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.ipynb").write_text("no JSON")
    ended = run_script(capfd, "notebooks", *(one.format(folder=tmp_path) for one in arguments))
    assert ended.status == 2 and said in ended.stderr and len(ended.stderr.splitlines()) <= 2
