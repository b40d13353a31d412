"""Promises of `make doctor`: it says what is there, measures what it says, and shows no secret."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from programs import run_script
from tiny import ROOT

from frontpage.command.errors import UserError
from frontpage.machine import doctor
from frontpage.machine.processor import FEATURES

SMALL = ("data.batch_size=2", "data.block_size=16", "model.n_head=2", "model.d_model=32")


@pytest.mark.slow
def test_it_reports_the_machine_and_no_secret(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "planted-9f8e7d6c")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    ended = run_script(capfd, "doctor", *SMALL, f"paths.log_dir={tmp_path}/logs", "--json", tmp_path / "found.json")
    assert (ended.status, ended.stderr) == (0, "")
    text = (tmp_path / "found.json").read_text()
    found = json.loads(text)
    assert "planted" not in text + ended.stdout
    assert found["keys"] == {"WANDB_API_KEY": True, "HF_TOKEN": False}
    assert "WANDB_API_KEY present, HF_TOKEN absent" in ended.stdout
    assert found["processor"]["threads"] == torch.get_num_threads()
    assert found["versions"]["torch"] == torch.__version__
    assert all(rate > 1e8 for rate in found["matmul_flops"].values()) and set(found["matmul_flops"]) == {"fp32", "bf16"}
    assert found["precision"]["auto"] in ("32-true", "bf16-mixed")
    assert 0 < found["disk"]["free_bytes"] <= found["disk"]["bytes"] and found["disk"]["folder"] == f"{tmp_path}/logs"
    assert found["attention"]["shape"] == [2, 2, 16, 16]
    for line in ("processor", "gpu", "matmul", "precision", "compiler", "disk", "versions", "keys", "attention"):
        assert f"\n{line}" in f"\n{ended.stdout}"


def test_every_kernel_is_tried_and_what_does_not_run_says_why():
    rows = doctor.attention_kernels(torch.device("cpu"), (2, 2, 16, 16))
    assert [(row["dtype"], row["kernel"]) for row in rows] == [
        (dtype, kernel) for dtype in ("fp32", "bf16")
        for kernel in ("flash_attention", "efficient_attention", "cudnn_attention", "math")
    ]  # fmt: skip
    for row in rows:
        assert (row["milliseconds"] is None) == bool(row["problem"]), row
        if row["kernel"] in ("flash_attention", "math"):
            assert row["milliseconds"] > 0
        else:
            assert row["problem"], "these two are of CUDA"


def test_the_compiler_names_itself_or_what_is_wrong_is_said(monkeypatch, tmp_path):
    program = tmp_path / "compiler"
    program.write_text("#!/bin/sh\necho A compiler 1.2\necho of somebody\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    assert doctor.cpp_compiler() == {"name": "A compiler 1.2", "problem": None}
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert doctor.cpp_compiler() == {"name": None, "problem": "/no/such/compiler does not answer"}
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert "no C++ compiler is installed" in doctor.cpp_compiler()["problem"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_features_are_those_of_the_processor():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert doctor.processor_features() == [name for name in FEATURES if name in flags]
    assert doctor.processor_features()


def test_the_programs_on_a_gpu_are_named(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU-aa-1, 42, python, 900 MiB'\necho 'GPU-bb-2, 43, other, 1 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor.holders("aa-1") == ["42 python 900 MiB"]
    assert doctor.holders("cc-3") == []


def test_it_can_insist_on_free_memory():
    gpu = {"name": "H200", "free_bytes": 6 * 2**30, "bytes": 140 * 2**30, "held_by": ["42 python 134 GiB"]}
    doctor.check_free_memory([gpu], 6)
    with pytest.raises(UserError, match="^--free-gpu=8: H200 has 6.0 GiB free; memory is held by 42 python 134 GiB$"):
        doctor.check_free_memory([gpu, {**gpu, "free_bytes": 100 * 2**30}], 8)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of a machine without a GPU")
def test_a_gpu_that_is_not_there_has_no_free_memory(capfd, tmp_path):
    ended = run_script(capfd, "doctor", *SMALL, "--free-gpu", 8, "--json", tmp_path / "found.json")
    assert (ended.status, ended.stderr) == (2, "--free-gpu=8.0: there is no GPU that CUDA knows\n")
    assert json.loads((tmp_path / "found.json").read_text())["gpus"] == []  # what was found is written first


def test_make_runs_it():
    asked = subprocess.run(["make", "--dry-run", "doctor"], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0 and "scripts/doctor.py" in asked.stdout


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("experiment=quikstart", "did you mean 'quickstart'"),
        ("model.n_head=0", "model.n_head=0: must be a whole number"),
    ],
)
def test_a_mistake_is_said_as_for_a_run(capfd, override, said):
    ended = run_script(capfd, "doctor", override)
    assert ended.status == 2 and said in ended.stderr
