"""Studies as the sweeper leaves them, made through Optuna: with runs that were trained, or with records alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

RATE, WIDTH = FloatDistribution(1e-4, 1e-1, log=True), IntDistribution(16, 256)
ATTENTION = CategoricalDistribution(["causal", "local", "mla"])
SPACE = {"optimizer.lr": RATE, "model.d_model": WIDTH, "model/attention": ATTENTION}


def new_study(folder: Path, objectives: Sequence[str] = ("val/nats_per_char",), **attributes: Any) -> optuna.Study:
    """An empty study named as its folder, in the folder's journal, with the attributes that the sweeper writes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=folder.name,
        storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))),
        directions=["minimize"] * len(objectives),
    )
    given = {
        "objectives": [*objectives],
        "search": "a_search",
        "overrides": ["experiment=quickstart"],
        "space": {name: str(one) for name, one in SPACE.items()},
        "command": "python train.py --multirun hparams_search=a_search",
        "git_commit": "0123456789abcdef",
        "sweep_dir": str(folder),
    }
    for key, value in (given | attributes).items():
        study.set_user_attr(key, value)
    return study


def add(
    study: optuna.Study,
    params: Mapping[str, Any],
    values: float | Sequence[float] | None = None,
    state: TrialState = TrialState.COMPLETE,
    curve: Mapping[int, float] | None = None,
    record: Mapping[str, Any] | None = None,
    space: Mapping[str, Any] = SPACE,
    **attributes: Any,
) -> Path:
    """Add one trial, and its directory with `record` as its run.json; returns the directory."""
    number = len(study.get_trials(deepcopy=False))
    directory = Path(study.user_attrs["sweep_dir"], str(number))
    directory.mkdir(exist_ok=True)
    if record is not None:
        (directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    values = [values] if isinstance(values, float) else values
    study.add_trial(
        create_trial(
            state=state,
            values=values,
            params=dict(params),
            distributions={name: space[name] for name in params},
            intermediate_values=dict(curve or {}),
            user_attrs={"directory": str(directory), **attributes},
        )
    )
    return directory


def record_of(loss: float | None, parameters: int = 1000, **more: Any) -> dict[str, Any]:
    """The part of a run.json that a report reads."""
    final = {
        "val/nats_per_char": loss,
        "val/nats_per_char_se": 0.01,
        "val/mainrun_loss": loss and 0.9 * loss,
        "val/mainrun_coverage": 0.9,
    }
    common = {"status": "finished", "reason": None, "steps": 100, "seconds": 12.5, "tokens_seen": 204_800}
    return common | {"parameters": parameters, "peak_memory_bytes": 2**29, "metrics": {"final": final}} | more
