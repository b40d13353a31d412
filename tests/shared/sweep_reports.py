"""What the tests of a study's page share: a study with everything, and pages of it and of others."""

import json
import math
import random
import runpy
import sys

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState
from programs import run_script
from run_folders import NASTY
from studies import SPACE, add, new_study, record_of
from tiny import ROOT

pytest.importorskip("plotly", reason="needs frontpage[report]")
PANELS = {"history-0", "curves", "weights-0", "distribution", "importances", "slices-0", "parallel", "pairs"}


@pytest.fixture(name="report")
def report_fixture(capfd, tmp_path):
    """report(study, ...) writes the page of a study and returns (JSON, text of the page)."""

    def written(study, *arguments):
        page, output = tmp_path / "page.html", tmp_path / "report.json"
        ended = run_script(capfd, "sweep_report", study, "--output", page, "--json", output, *arguments)
        assert (ended.status, ended.stderr) == (0, ""), ended.stderr
        refuse = {"parse_constant": lambda name: pytest.fail(f"{name} in the JSON")}
        return json.loads(output.read_text(encoding="utf-8"), **refuse), page.read_text(encoding="utf-8")

    return written


def full_study(folder, trials=14):
    """A study with everything: conditional and listed parameters, pruned, failed, continued and running trials."""
    draw = random.Random(1)
    space = SPACE | {
        "model.attention.window": IntDistribution(4, 32),
        "optimizer.betas": CategoricalDistribution(["[0.9,0.95]", NASTY]),
    }
    study = new_study(folder, space={name: str(one) for name, one in space.items()})
    for _ in range(trials):
        params = {"optimizer.lr": 10 ** draw.uniform(-4, -1), "model.d_model": draw.randint(16, 256)}
        params |= {
            "model/attention": draw.choice(["causal", "local"]),
            "optimizer.betas": draw.choice(["[0.9,0.95]", NASTY]),
        }
        if params["model/attention"] == "local":
            params["model.attention.window"] = draw.randint(4, 32)
        loss = 1.5 + 0.1 * (math.log10(params["optimizer.lr"]) + 2.5) ** 2 + draw.gauss(0, 0.01)
        record, curve = record_of(loss, 100 * params["model.d_model"]), {50: loss + 1, 100: loss + 0.1}
        add(study, params, loss, curve=curve, record=record, space=space)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.PRUNED, curve={50: 3.0}, reason="above the median")
    add(study, {"optimizer.lr": 0.1}, state=TrialState.FAIL, curve={50: float("nan")}, reason=NASTY)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.FAIL, requeued=17)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.WAITING, retry_of=16)
    return study


@pytest.fixture(name="full", scope="module")
def full_fixture(tmp_path_factory):
    """The folder of the full study."""
    folder = tmp_path_factory.mktemp("sweeps") / "full"
    full_study(folder)
    return folder


@pytest.fixture(name="told", scope="module")
def told_fixture(full, tmp_path_factory):
    """(JSON, text of the page) of the full study."""
    page, output = (tmp_path_factory.mktemp("told") / name for name in ("page.html", "report.json"))
    words = ["sweep_report.py", str(full / "study.journal"), "--output", str(page), "--json", str(output)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / "scripts" / "sweep_report.py"), run_name="__main__")
    return json.loads(output.read_text(encoding="utf-8")), page.read_text(encoding="utf-8")
