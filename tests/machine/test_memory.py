"""Promises of the memory that a process can have: the machine's, or that of its container or job."""

import pytest
import torch

from frontpage.machine import memory
from frontpage.machine.memory import free_bytes, machine_memory

CPU = torch.device("cpu")


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """groups(own, {folder: (limit, used, cached)}) are the control groups from then on."""

    monkeypatch.setattr("sys.platform", "linux")

    def make(own, limits):
        for folder, (limit, used, cached) in limits.items():
            place = tmp_path / folder
            place.mkdir(parents=True, exist_ok=True)
            (place / "memory.max").write_text(f"{limit}\n")
            (place / "memory.current").write_text(f"{used}\n")
            parts = {"inactive_file": cached // 2, "active_file": cached - cached // 2 - 3, "slab_reclaimable": 3}
            shown = "".join(f"{name} {size if cached else 0}\n" for name, size in parts.items())
            (place / "memory.stat").write_text(f"anon {used - cached}\n{shown}slab 17\n")
        (tmp_path / "own").write_text(f"4:memory:/elsewhere\n0::/{own}\n")
        monkeypatch.setattr(memory, "GROUPS", tmp_path)
        monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "own")

    return make


def test_what_is_free_is_a_plausible_number():
    assert 2**26 < free_bytes(CPU) < 2**50 and free_bytes(CPU) <= machine_memory()


def test_a_container_has_its_limit_less_what_it_cannot_give_back(groups):
    groups("", {".": (10**6, 400_000, 150_000)})
    assert (machine_memory(), free_bytes(CPU)) == (10**6, 750_000)


def test_a_job_in_a_nested_group_has_the_least_of_those_above_it(groups):
    groups("slurm/job_1/step_0", {"slurm": (10**6, 900_000, 0), "slurm/job_1": (500_000, 100_000, 0)})
    assert (machine_memory(), free_bytes(CPU)) == (500_000, 100_000)


def test_a_group_that_is_over_its_limit_has_nothing_free(groups):
    groups("", {".": (1000, 1500, 0)})
    assert free_bytes(CPU) == 0


@pytest.mark.parametrize("limit", ["max", ""])
def test_a_group_without_a_limit_has_the_machines(groups, limit, monkeypatch):
    before = machine_memory()
    groups("", {".": (limit, 400, 0)})
    assert machine_memory() == before and free_bytes(CPU) > 2**26


def test_without_linuxs_files_all_of_the_memory_counts_as_free(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "none")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "none")
    assert free_bytes(CPU) == machine_memory()
