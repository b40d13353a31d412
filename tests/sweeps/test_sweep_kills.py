"""Promises of a search that is killed between any two records of its journal, or within one, and started again."""

import json
import re
import resource
import shutil
from contextlib import contextmanager

import optuna
import pytest
from messages import check_message
from toy_searches import toy, valley  # noqa: F401

from frontpage.command.errors import Infeasible
from frontpage.sweeps.storage import open_storage

SPACE = ("x=interval(0,1)", "y=int(interval(0,9))")
# Fewer trials drawn at random than there are trials, so that what a sampler learns is tried as well.
SAMPLERS = {
    "random": {},
    "tpe": {"n_startup_trials": 2},
    "grid": {},
    "gp": {"n_startup_trials": 2},
    "cmaes": {},
    "nsgaii": {"population_size": 2},
    "qmc": {"_target_": "optuna.samplers.QMCSampler", "warn_independent_sampling": False},
}


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch):
    """A killed process loses nothing that it has written, so these tests, which write much, need not wait for disks."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def uneven(number, x, y=0, **others):
    """A toy objective of which one trial in three fails, by its point and not by its number."""
    if 0.3 < x < 0.5:
        raise RuntimeError("it broke")
    return valley(number, x, y)


def points(toy):  # noqa: F811
    """What has come of each draw of a study: its parameters and its values; what was broken off is left out."""
    trials = [trial for trial in toy.study().trials if "requeued" not in trial.user_attrs]
    return [(trial.params, trial.state.name, trial.values) for trial in trials]


def killed_behind(toy, journal):  # noqa: F811
    """Put a study where its worker has died and left `journal`; what lies there already is removed."""
    folder = toy.folder / "sweeps/toy"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "workers").mkdir(parents=True)
    (folder / "study.journal").write_bytes(journal)
    for worker in re.findall(rb'"worker":"([^"]+)"', journal):  # its lock is free: nobody holds the file
        (folder / "workers" / worker.decode()).touch()


def search(toy, sampler, **keys):  # noqa: F811
    space = ("x=choice(0.1,0.4,0.6)", "y=choice(0,1)") if sampler == "grid" else SPACE
    keys = {"n_trials": 5, "sampler": "random" if sampler == "qmc" else sampler} | keys
    return toy(uneven, *space, sampler_keys=SAMPLERS[sampler], **keys)


def same_wherever_it_is_killed(toy, search, journal):  # noqa: F811
    """Search again behind each record of a journal; the records behind which another end was reached."""
    wanted, wrong = points(toy), []
    lines = journal.splitlines(keepends=True)
    for kept in range(len(lines)):
        killed_behind(toy, b"".join(lines[:kept]))
        search()
        wrong += [kept] if points(toy) != wanted else []
    return wrong


@pytest.mark.parametrize(
    "sampler",
    [pytest.param(sampler, marks=[] if sampler == "tpe" else pytest.mark.slow) for sampler in SAMPLERS],
)
def test_a_single_worker_killed_anywhere_ends_as_if_undisturbed(toy, sampler):  # noqa: F811
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    search(toy, sampler)
    journal = (toy.folder / "sweeps/toy/study.journal").read_bytes()
    assert same_wherever_it_is_killed(toy, lambda: search(toy, sampler), journal) == []


@pytest.mark.slow
def test_a_search_killed_twice_anywhere_ends_as_if_undisturbed(toy):  # noqa: F811
    """The second time while the first worker's trial is taken up."""
    search(toy, "tpe")
    whole = (toy.folder / "sweeps/toy/study.journal").read_bytes()
    running = whole.index(b'"worker"', len(whole) // 2)
    killed_behind(toy, whole[: whole.index(b"\n", running) + 1])
    search(toy, "tpe")
    assert [one.user_attrs.get("requeued") for one in toy.study().trials].count(None) < len(toy.study().trials)
    journal = (toy.folder / "sweeps/toy/study.journal").read_bytes()
    assert same_wherever_it_is_killed(toy, lambda: search(toy, "tpe"), journal) == []


def refuses_some(config, trial):
    """A space with a condition, drawn beside the parameters of the space, and a constraint."""
    if trial.suggest_int("extra", 0, 9) < trial.params["y"]:
        raise Infeasible("extra is below y")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_search_with_a_condition_killed_anywhere_ends_as_if_undisturbed(toy, sampler):  # noqa: F811
    def again():
        return search(toy, sampler, n_trials=3, custom_search_space=f"{refuses_some.__module__}.refuses_some")

    again()
    states = toy.states()
    assert "COMPLETE" in states and (sampler == "grid" or "FAIL" in states)
    journal = (toy.folder / "sweeps/toy/study.journal").read_bytes()
    assert same_wherever_it_is_killed(toy, again, journal) == []


@pytest.mark.slow
def test_a_search_over_variants_killed_anywhere_ends_as_if_undisturbed(toy):  # noqa: F811
    def again():
        return toy(uneven, "x=choice(0.1,0.4)", sampler="grid", variants={"base": [], "high": ["y=1", "budget=2"]})

    again()
    assert [trial.params["variant"] for trial in toy.study().trials] == ["base", "base", "high", "high"]
    journal = (toy.folder / "sweeps/toy/study.journal").read_bytes()
    assert same_wherever_it_is_killed(toy, again, journal) == []


@pytest.mark.slow
def test_a_journal_cut_at_any_byte_holds_its_whole_records(toy):  # noqa: F811
    search(toy, "tpe", n_trials=1)
    path = toy.folder / "sweeps/toy/study.journal"
    journal = path.read_bytes()
    ends = [place for place, byte in enumerate(journal, start=1) if byte == ord("\n")]
    for length in sorted({max(end + near, 0) for end in [0, *ends[:-1]] for near in (-1, 0, 1, 9, 10, 20)}):
        path.write_bytes(journal[:length])
        open_storage(str(path))
        assert path.read_bytes() == journal[: journal.rfind(b"\n", 0, length) + 1]


def test_a_half_made_study_of_another_search_is_made_anew(toy):  # noqa: F811
    """It has no trial, so nothing is lost; a whole one of another search is refused."""
    search(toy, "tpe", n_trials=1)
    lines = (toy.folder / "sweeps/toy/study.journal").read_bytes().splitlines(keepends=True)
    killed_behind(toy, b"".join(lines[:3]))
    toy(uneven, "x=interval(0,2)", n_trials=1, direction="maximize")
    study = toy.study()
    assert study.user_attrs["space"] == {"x": "interval(0,2)"} and study.direction.name == "MAXIMIZE"


def test_a_study_that_is_not_ours_is_refused_and_left_as_it_is(toy):  # noqa: F811
    path = toy.folder / "sweeps/toy/study.journal"
    study = optuna.create_study(study_name="toy", storage=open_storage(str(path)))
    study.set_user_attr("theirs", 1)
    before = path.read_bytes()
    refused = toy(uneven, *SPACE, n_trials=1, status=2)
    check_message(refused, ["hydra.sweeper.study_name=toy", "was not made by this sweeper", "name another study"])
    assert path.read_bytes() == before


@contextmanager
def files_end_at(size):
    """No file of this process may grow beyond so many bytes: what is written is cut there, as by a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.75, 0.8, 0.97])
def test_a_disk_that_fills_up_is_one_line_and_loses_nothing(toy, share):  # noqa: F811
    search(toy, "tpe")
    wanted, path = points(toy), toy.folder / "sweeps/toy/study.journal"
    full = int(len(path.read_bytes()) * share)
    killed_behind(toy, b"")
    with files_end_at(full):
        said = search(toy, "tpe", status=1)
    check_message(said, [f"hydra.sweeper.storage={path}", "File too large", "goes on"])
    assert path.read_bytes().endswith(b"\n"), "another worker would write behind a torn record"
    search(toy, "tpe")
    assert points(toy) == wanted


def test_another_workers_torn_record_is_cut_off_before_the_next(tmp_path):
    """It died while it wrote; this one has the journal open."""
    path = tmp_path / "study.journal"
    study = optuna.create_study(study_name="toy", storage=open_storage(str(path)))
    path.write_bytes(path.read_bytes() + b'{"op_code":5,"worker_')
    study.set_user_attr("a", 1)
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert study.user_attrs == {"a": 1}
    assert optuna.load_study(study_name="toy", storage=open_storage(str(path))).user_attrs == {"a": 1}
