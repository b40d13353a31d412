"""`trainer.precision=auto` takes what was measured to be fastest, says it, and a resumed run keeps it."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from programs import train_tiny
from tiny import TINY

import frontpage.machine.flops
import frontpage.machine.precision
from frontpage.command.errors import UserError
from frontpage.command.launch import Launch
from frontpage.command.process_family import take_part
from frontpage.machine.flops import matmul_peak
from frontpage.machine.precision import MEASURED, best_precision, bf16_is_fast, product_type, settle_precision
from frontpage.machine.processor import has_bf16_instructions, processor_name


@pytest.fixture
def rates(monkeypatch):
    """rates(bf16, fp32) are the rates of matrix products from then on."""

    def give(half, single):
        measured = {torch.bfloat16: half, torch.float32: single}
        monkeypatch.setattr(frontpage.machine.precision, "measure_matmul_peak", lambda device, kind: measured[kind])
        monkeypatch.setattr(frontpage.machine.precision, "has_bf16_instructions", lambda: True)
        forget()

    yield give
    forget()


def forget():
    os.environ.pop(MEASURED, None)
    best_precision.cache_clear()
    bf16_is_fast.cache_clear()


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
    assert f" {half / single:g} times as fast" in why


@pytest.mark.parametrize(("half", "single", "said"), [(0.5, 38.2, "0.013"), (3.0, 1.9, "1.6"), (991, 8.7, "110")])
def test_the_ratio_is_said_with_two_digits(rates, half, single, said):
    rates(half, single)
    assert best_precision("cpu")[1] == f"bf16 matrix products are {said} times as fast as fp32 ones on this processor"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16\n", True),
        ("Features\t: fp asimd sve\n", False),
        ("Features\t: fp asimd bf16\n", True),
        ("", None),
    ],
)
def test_a_cpu_that_says_it_has_no_bf16_is_not_measured(monkeypatch, text, answer):
    monkeypatch.setattr("frontpage.machine.processor.Path.read_text", lambda *_, **__: text)
    assert has_bf16_instructions() is answer
    if answer is False:
        monkeypatch.setattr(frontpage.machine.precision, "measure_matmul_peak", lambda *_: pytest.fail("measured"))
        forget()
        assert best_precision("cpu") == ("32-true", "this processor has no bf16 instructions")
        forget()


def test_a_slow_product_is_neither_repeated_nor_made_larger(monkeypatch):
    """Of 0.5 billion operations a second: a product of 1,024 would take four seconds."""
    widths, clock = [], [0.0]

    def seconds(left, right):
        widths.append(len(left))
        clock[0] += 2 * len(left) ** 3 / 0.5e9
        return 2 * len(left) ** 3 / 0.5e9

    monkeypatch.setattr(frontpage.machine.flops, "_seconds", seconds)
    monkeypatch.setattr(frontpage.machine.flops, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert matmul_peak(torch.device("cpu"), torch.bfloat16) == pytest.approx(0.5e9)
    assert clock[0] < 0.3 and max(widths) == 256


def test_a_fast_product_is_measured_at_full_width(monkeypatch):
    widths = []
    monkeypatch.setattr(frontpage.machine.flops, "_seconds", lambda left, right: widths.append(len(left)) or 1e-3)
    assert matmul_peak(torch.device("cpu"), torch.float32) == 2 * 1024**3 / 1e-3
    assert widths == [128, 128, 256, 256, 512, 512, *[1024] * 7]


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("64-true", torch.float64), ("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.half)],
)
def test_the_peak_is_that_of_the_products_of_the_run(precision, kind):
    assert product_type(precision) == kind


@pytest.mark.slow
def test_a_mistake_in_the_titles_is_told_before_anything_is_measured(command, monkeypatch):
    monkeypatch.setattr(frontpage.machine.precision, "measure_matmul_peak", lambda *_: pytest.fail("measured"))
    forget()
    tiny = [override for override in TINY if "precision" not in override]
    ended = command(*tiny, "trainer.precision=auto", "data.path=/nowhere.csv")
    assert ended.status == 2 and "data.path=/nowhere.csv" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["64-true", "32", "16-true"])
def test_every_precision_that_is_taken_stands_in_the_list_of_what_is_allowed(command, precision):
    ended = command(*TINY, "trainer.precision=x")
    assert ended.status == 2 and f" {precision} " in ended.stderr


@pytest.mark.slow
def test_a_run_in_fp64_works(tmp_path):
    run = train_tiny(tmp_path / "run", "trainer.precision=64-true", "trainer.max_steps=2")
    assert record(run)["precision"] == "64-true" and record(run)["status"] == "finished"


def test_other_devices_are_asked_what_they_have(monkeypatch):
    for there, chosen in ((True, "bf16-mixed"), (False, "32-true")):
        best_precision.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, there=there: there)
        assert best_precision("cuda")[0] == chosen
        if not there:
            with pytest.raises(Exception, match="this GPU has no bf16"):
                settle_precision("bf16-mixed", "cuda")
    best_precision.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert best_precision("cuda")[0] == "32-true" and settle_precision("bf16-mixed", "cuda") == "bf16-mixed"
    forget()
    assert best_precision("mps")[0] == "32-true"


@pytest.mark.parametrize("asked", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_precision_that_is_asked_for_stays(rates, asked):
    rates(100.0, 1.0)
    assert settle_precision(asked, "cpu") == asked


@pytest.mark.parametrize(
    ("asked", "device", "has"),
    [
        *(
            (asked, "cpu", "a CPU has: auto 32-true 64-true bf16-mixed bf16-true")
            for asked in ("16-mixed", "16-true", 16)
        ),
        *((asked, "mps", "an Apple GPU has no fp64: auto 32-true 16-mixed bf16-mixed") for asked in ("64-true", 64)),
    ],
)
def test_a_precision_that_a_device_lacks_is_a_mistake(asked, device, has):
    with pytest.raises(UserError, match=f"trainer.precision={asked}: .*{has}"):
        settle_precision(asked, device)


@pytest.mark.slow
def test_a_run_says_what_auto_took_and_keeps_it_when_it_is_continued(rates, tmp_path):
    rates(2.0, 1.0)
    run = train_tiny(tmp_path / "run", "trainer.precision=auto", "trainer.max_steps=2")
    assert record(run)["precision"] == "bf16-mixed"
    assert any(said.startswith("trainer.precision=auto: bf16-mixed, since") for said in record(run)["notices"])
    (run / "run.json").write_text(json.dumps(record(run) | {"status": "interrupted"}))
    rates(0.5, 1.0)
    train_tiny(run, "trainer.precision=auto", "trainer.max_steps=3", "ckpt_path=last")
    assert record(run)["precision"] == "bf16-mixed" and record(run)["steps"] == 3


def test_what_a_process_measured_is_what_those_that_it_starts_go_by(rates):
    rates(2.0, 1.0)
    assert best_precision("cpu")[0] == "bf16-mixed" and os.environ[MEASURED].startswith("2 ")
    rates(0.5, 1.0)
    os.environ[MEASURED] = f"2 {processor_name(torch.device('cpu'))}"  # inherited
    chosen, why = best_precision("cpu")
    assert chosen == "bf16-mixed" and " 2 times as fast" in why
    forget()
    os.environ[MEASURED] = "2 another processor"  # of the machine that has sent a job here
    assert best_precision("cpu")[0] == "32-true"


def test_processes_that_a_launcher_starts_compute_in_fp32_and_measure_nothing(rates):
    rates(2.0, 1.0)
    take_part(Launch("torchrun", 0, 1, 1, 1))  # alone
    try:
        assert best_precision("cpu")[0] == "bf16-mixed"
        forget()
        take_part(Launch("torchrun", 1, 2, 1, 2))
        assert best_precision("cpu") == ("32-true", "the processes of torchrun would each measure their CPU")
    finally:
        take_part(None)


def test_the_real_measurement_gives_an_answer():
    forget()
    assert best_precision("cpu")[0] in ("32-true", "bf16-mixed")
