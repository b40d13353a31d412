"""`trainer.precision=auto` takes what was measured to be fastest, says it, and a resumed run keeps it."""

import json

import pytest
import torch
from programs import train_tiny
from tiny import TINY

import frontpage.precision
from frontpage.precision import best_precision, settle_precision


@pytest.fixture
def rates(monkeypatch):
    """rates(bf16, fp32) are the rates of matrix products from then on."""

    def give(half, single):
        measured = {torch.bfloat16: half, torch.float32: single}
        monkeypatch.setattr(frontpage.precision, "measure_matmul_peak", lambda device, kind: measured[kind])
        best_precision.cache_clear()

    yield give
    best_precision.cache_clear()


def record(directory):
    return json.loads((directory / "run.json").read_text())


@pytest.mark.parametrize(
    ("half", "single", "chosen"),
    [(2.0, 1.0, "bf16-mixed"), (1.2, 1.0, "bf16-mixed"), (1.1, 1.0, "32-true"), (0.6, 1.0, "32-true")],
)
def test_a_cpu_takes_bf16_where_it_is_clearly_faster(rates, half, single, chosen):
    rates(half, single)
    found, why = best_precision("cpu")
    assert found == chosen
    assert f"{half / single:.1f} times as fast" in why


def test_other_devices_are_asked_what_they_have(monkeypatch):
    for there, chosen in ((True, "bf16-mixed"), (False, "32-true")):
        best_precision.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, there=there: there)
        assert best_precision("cuda")[0] == chosen
        if not there:
            with pytest.raises(Exception, match="this GPU has no bf16"):
                settle_precision("bf16-mixed", "cuda")
    best_precision.cache_clear()
    assert best_precision("mps")[0] == "32-true"


@pytest.mark.parametrize("asked", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_precision_that_is_asked_for_stays(rates, asked):
    rates(100.0, 1.0)
    assert settle_precision(asked, "cpu") == asked


@pytest.mark.parametrize("asked", ["16-mixed", "16-true"])
def test_fp16_on_a_cpu_is_a_mistake(command, asked):
    ended = command(*TINY, f"trainer.precision={asked}")
    assert ended.status == 2
    assert (
        f"trainer.precision={asked}" in ended.stderr and "a CPU has: auto 32-true bf16-mixed bf16-true" in ended.stderr
    )


def test_a_run_says_what_auto_took_and_keeps_it_when_it_is_continued(rates, tmp_path):
    rates(2.0, 1.0)
    run = train_tiny(tmp_path / "run", "trainer.precision=auto", "trainer.max_steps=2")
    assert record(run)["precision"] == "bf16-mixed"
    assert any(said.startswith("trainer.precision=auto: bf16-mixed, since") for said in record(run)["notices"])
    (run / "run.json").write_text(json.dumps(record(run) | {"status": "interrupted"}))
    rates(0.5, 1.0)
    train_tiny(run, "trainer.precision=auto", "trainer.max_steps=3", "ckpt_path=last")
    assert record(run)["precision"] == "bf16-mixed" and record(run)["steps"] == 3


def test_the_real_measurement_gives_an_answer():
    best_precision.cache_clear()
    assert best_precision("cpu")[0] in ("32-true", "bf16-mixed")
