"""Promises of what becomes of a trial: complete, pruned, failed and why; and when a sweep gives up."""

import errno
import math
import os
from types import SimpleNamespace

import optuna
import pytest
from messages import check_message
from toy_searches import SPACE, toy, valley  # noqa: F811, F401

from frontpage.command.endings import Interrupted, Pruned
from frontpage.command.errors import Infeasible, UserError
from frontpage.command.objective import reported
from frontpage.sweeps.report_trial import ReportTrial
from frontpage.training.memory.out_of_memory import OutOfMemory


def out_of_memory():
    error = OutOfMemory("data.batch_size=8: out of memory\nallowed: less")
    error.estimated_memory_bytes = 123
    return error


def raises(error):
    """An objective that raises in trial 1."""

    def objective(number, **values):
        if number == 1:
            raise error
        return valley(number, **values)

    return objective


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("it broke\nin two lines"), "RuntimeError: it broke"),
        (MemoryError(), "MemoryError: "),
        (UserError("model.n_head=3: must divide"), "model.n_head=3: must divide"),
        (out_of_memory(), "data.batch_size=8: out of memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_fails_its_trial_alone(toy, error, reason):  # noqa: F811
    said = toy(raises(error), SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE", "FAIL", "COMPLETE"]
    failed = toy.study().trials[1]
    status = "out of memory" if isinstance(error, OutOfMemory) else "failed"
    assert failed.user_attrs["reason"] == reason and failed.user_attrs["status"] == status
    assert failed.user_attrs.get("estimated_memory_bytes") == getattr(error, "estimated_memory_bytes", None)
    assert f"trial 1   FAIL      -  x={failed.params['x']:.6g}  ({reason})" in said


@pytest.mark.parametrize("value", [math.nan, "no number", None, [1.0, 2.0]], ids=str)
def test_an_objective_that_is_no_number_fails_its_trial(toy, value):  # noqa: F811
    toy(lambda number, **values: value if number == 0 else valley(number, **values), SPACE, n_trials=1)
    assert toy.states() == ["FAIL", "COMPLETE"]
    assert "the objective" in toy.study().trials[0].user_attrs["reason"]


@pytest.mark.parametrize("kind", [Pruned, optuna.TrialPruned])
def test_a_pruned_trial_is_pruned_and_counts(toy, kind):  # noqa: F811
    said = toy(raises(kind("others were better")), SPACE, n_trials=3)
    assert toy.states() == ["COMPLETE", "PRUNED", "COMPLETE"]
    pruned = toy.study().trials[1].user_attrs
    assert pruned["reason"] == "others were better" and pruned["status"] == "pruned"
    assert "study toy: 2 complete, 1 pruned" in said


def test_trials_that_run_out_of_memory_while_they_train_are_bounded_where_none_finishes(toy):  # noqa: F811
    def out(number, **values):
        raise out_of_memory()

    said = toy(out, SPACE, n_trials=5, max_failed=3, status=1)
    assert said.splitlines() == [
        "hydra.sweeper.study_name=toy: 3 trials have run out of memory while they trained, hydra.sweeper.max_failed=3"
    ]
    toy(valley, SPACE, n_trials=1, max_failed=4)  # memory is free again
    toy(
        lambda number, **values: out(number) if number < 9 else valley(number, **values),
        SPACE,
        n_trials=2,
        max_failed=4,
    )
    assert toy.states() == ["FAIL"] * 3 + ["COMPLETE"] + ["FAIL"] * 5 + ["COMPLETE"]


def test_failed_trials_are_bounded_and_nothing_but_failures_is_status_1(toy):  # noqa: F811
    def broken(number, **values):
        raise RuntimeError("always")

    said = toy(broken, SPACE, n_trials=5, max_failed=3, status=1)
    assert said.splitlines() == [
        "hydra.sweeper.study_name=toy: 3 trials have failed, hydra.sweeper.max_failed=3; each one's reason stands above"
    ]
    assert toy.states() == ["FAIL"] * 3
    toy(broken, SPACE, n_trials=5, max_failed=3, status=1)
    assert toy.states() == ["FAIL"] * 3, "a sweep that gave up went on"
    toy(valley, SPACE, n_trials=2, max_failed=4)
    assert toy.states() == ["FAIL"] * 3 + ["COMPLETE"] * 2


def test_a_grid_whose_points_all_fail_is_status_1(toy):  # noqa: F811
    def broken(number, **values):
        raise RuntimeError("always")

    said = toy(broken, "x=choice(0,1)", sampler="grid", status=1)
    assert "every trial has failed" in said and toy.states() == ["FAIL"] * 2


def test_what_does_not_fit_is_no_failure_of_the_search(toy):  # noqa: F811
    def large(number, **values):
        if number < 3:
            error = Infeasible("needs an estimated 9 GiB")
            error.estimated_memory_bytes = 9 * 2**30
            raise error
        return valley(number, **values)

    toy(large, SPACE, n_trials=1, max_failed=1)
    assert toy.states() == ["FAIL"] * 3 + ["COMPLETE"]
    first = toy.study().trials[0].user_attrs
    assert first["status"] == "infeasible" and first["estimated_memory_bytes"] == 9 * 2**30


@pytest.mark.slow
def test_a_space_in_which_nothing_fits_ends(toy):  # noqa: F811
    def large(number, **values):
        raise Infeasible("too large")

    assert "hardly anything" in toy(large, SPACE, n_trials=1, status=1)
    assert toy.states() == ["FAIL"] * 10


@pytest.mark.parametrize(
    "error",
    [Interrupted("stopped"), pytest.param(KeyboardInterrupt(), marks=pytest.mark.slow)],
    ids=lambda error: type(error).__name__,
)
def test_an_interrupt_loses_nothing_and_is_no_retry(toy, error):  # noqa: F811
    said = []
    for _ in range(3):
        toy(raises(error) if len(said) == 0 else interrupts_each(error), SPACE, n_trials=3, max_retries=0, status=130)
        said.append(toy.said)
    toy(valley, SPACE, n_trials=3, max_retries=0)
    trials = toy.study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.user_attrs.get("requeued") for trial in trials] == [None, 2, 3, 4, None, None]
    assert [trial.user_attrs.get("retry_of") for trial in trials] == [None, None, 1, 2, 3, None]
    assert len({trial.params["x"] for trial in trials[1:5]}) == 1
    assert "trial 1: interrupted; trial 2 starts anew with the same parameters" in said[0]


def test_a_full_disk_ends_the_search_and_the_same_command_goes_on(toy):  # noqa: F811
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/small/last.ckpt")
    outer = RuntimeError("around it")
    outer.__cause__ = full
    for error in (full, outer):
        said = toy(interrupts_each(error), "x=choice(0,1)", sampler="grid", max_failed=1, max_retries=0, status=1)
        assert said.startswith("the disk is full: /small/last.ckpt was not written (No space left on device)")
    assert "trial 1: the disk is full; trial 2 starts anew with the same parameters" in toy.said
    toy(valley, "x=choice(0,1)", sampler="grid", max_failed=1, max_retries=0)
    trials = toy.study().trials
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.user_attrs["status"] for trial in trials] == ["interrupted", "interrupted", "finished", "finished"]
    assert [trial.params["x"] for trial in trials] == [0, 0, 0, 1]


def interrupts_each(error):
    def objective(number, **values):
        raise error

    return objective


def test_several_objectives(toy, caplog):  # noqa: F811
    config = {"objective": ["val/loss", "parameters"]}

    def both(number, x, **others):
        return x, 1 - x

    said = toy(both, SPACE, n_trials=4, config=config, sampler="nsgaii", pruner="median")
    assert "hydra.sweeper.pruner: none, since runs with several objectives" in caplog.text
    study = toy.study()
    assert study.user_attrs["objectives"] == ["val/loss", "parameters"]
    assert [direction.name for direction in study.directions] == ["MINIMIZE"] * 2
    assert len(study.best_trials) == 4 and "[Pareto front: 0 1 2 3]" in said
    toy(lambda number, **values: 1.0, SPACE, n_trials=5, config=config, max_failed=1, status=1)
    assert toy.states()[4] == "FAIL", "one value for two objectives"


@pytest.mark.parametrize("objective", ["val/loss", "seconds"])
def test_a_list_of_one_objective_is_that_objective(toy, caplog, objective):  # noqa: F811
    toy(lambda number, x, **_: (x,), SPACE, n_trials=2, config={"objective": [objective]}, pruner="median")
    trials = toy.study().trials
    assert [trial.value for trial in trials] == [trial.params["x"] for trial in trials]
    assert ("none, since seconds is not known while a run trains" in caplog.text) == (objective == "seconds")


def test_what_is_not_known_while_a_run_trains_is_not_what_it_is_pruned_by():
    assert reported(["val/loss"]) == reported("val/loss") == "val/loss"
    assert reported(["seconds"]) is None and reported(["val/loss", "seconds"]) is None


def test_directions_may_differ(toy):  # noqa: F811
    config = {"objective": ["val/loss", "tokens_per_second"]}
    toy(lambda number, x, **_: (x, x), SPACE, n_trials=2, config=config, direction=["minimize", "maximize"])
    assert [direction.name for direction in toy.study().directions] == ["MINIMIZE", "MAXIMIZE"]
    refused = toy(valley, SPACE, study_name="other", config={"objective": ["a", "b", "c"]}, status=2,
                  direction=["minimize", "maximize"])  # fmt: skip
    check_message(refused, ("hydra.sweeper.direction=", "one for each of: a b c"))


def test_a_run_goes_on_while_its_database_does_not_answer(caplog):
    """And is neither pruned by what it could not tell, nor silent about it."""

    class Lost:
        """A trial, a study and a storage that is gone."""

        directions = [None]
        study = property(lambda self: self)

        def __getattr__(self, name):
            raise optuna.exceptions.StorageInternalError("the server is away")

    trainer = SimpleNamespace(global_step=3, should_stop=False)
    module = SimpleNamespace(metrics={"val/nats_per_char": 1.0}, total_steps=9)
    callback = ReportTrial(Lost(), "val/nats_per_char", skip_infeasible=False)
    callback.on_validation_end(trainer, module)
    trainer.global_step, callback._validated = 4, True  # of a database that went away in between
    callback.on_update_end(trainer, module)
    for step in (3, 4):
        assert f"update {step}: the study cannot be reached (the server is away); the run goes on" in caplog.text
