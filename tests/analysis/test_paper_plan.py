"""Promises of docs/scale.md: its numbers are the estimates', its rates follow from what is assumed, all are there."""

import pytest
from programs import run_script
from tiny import ROOT, options

from frontpage.analysis.paper_plan.page import BEGIN, END, table_of, with_tables
from frontpage.analysis.paper_plan.plan import PRESETS, Cluster, Row, _row, _with_rate, plan_preset
from frontpage.machine.peak_memory import GIB

PAGE = ROOT / "docs" / "scale.md"


def test_every_preset_of_a_model_up_to_the_largest_for_daily_work_is_planned():
    assert {*PRESETS} == {*options("model")} - {"deep_narrow_100"} | {"7 billion"}


@pytest.mark.slow
def test_the_page_holds_what_is_planned():
    plan = plan_preset("tiny", [1, 8, 64, 512], Cluster())
    page = PAGE.read_text(encoding="utf-8")
    assert table_of(plan) in page and page.count(BEGIN) == 1
    assert [name for name in PRESETS if f"\n### {name}\n" in page] == [*PRESETS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "deep_narrow_48"])  # `scale.py --check` compares all, for three minutes
def test_the_page_has_what_the_script_prints(name, capfd):
    ended = run_script(capfd, "scale", name)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.strip() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_operations_and_rates_are_those_of_a_calculation_by_hand():
    plan = plan_preset("tiny", [1, 8], Cluster(card=80, peak=1e12, utilization=0.5))
    width, layers, tokens, vocabulary = 64, 2, 512, 8192
    norms = (2 * layers + 1) * width
    products = layers * (4 * width**2 + 3 * width * 4 * width) + vocabulary * width
    assert plan.weights == products + norms
    seen = (tokens + 1) / 2  # of its document, on average
    assert plan.flops == pytest.approx(6 * (products + norms) + 3 * layers * 4 * width * seen)
    for row, devices in zip(plan.rows, (1, 8), strict=True):
        assert row.rate == pytest.approx(devices * 0.5e12 / plan.flops)
        assert row.days == pytest.approx(20 * plan.weights / row.rate / 86_400)
        assert row.update_tokens == 2**19 == row.rows * row.accumulate * devices * tokens
    assert [row.strategy for row in plan.rows] == ["auto", "ddp"]
    assert [row.sent for row in plan.rows] == [0, pytest.approx(2 * 4 * plan.weights * 7 / 8)]


def test_the_first_way_that_fits_is_taken_with_the_most_rows():
    static = {"ddp": 60, "fsdp": 10}

    def needed(strategy, state, rows, devices):
        return static[strategy] + rows * (4 if state == "none" else 1)

    def chosen(devices, rows, card):
        row = _row(devices, rows, 32, needed, card)
        return row.strategy, row.checkpointing, row.rows, row.accumulate, row.device_bytes

    assert chosen(8, 64, 92) == ("ddp", "none", 8, 1, 92)
    assert chosen(8, 64, 91) == ("ddp", "none", 4, 2, 76)
    assert chosen(8, 64, 70) == ("ddp", "full", 8, 1, 68)
    assert chosen(8, 64, 59) == ("fsdp", "none", 8, 1, 42)
    assert chosen(8, 64, 20) == ("fsdp", "full", 8, 1, 18)
    assert chosen(1, 64, 92) == ("auto", "none", 8, 8, 92)
    assert chosen(1, 64, 999) == ("auto", "none", 32, 2, 188)
    assert chosen(512, 64, 64) == ("ddp", "none", 1, 1, 64)
    assert _row(8, 64, 32, needed, 13).strategy is None and _row(1, 64, 32, needed, 59).strategy is None


def test_recomputation_gathering_and_a_slow_network_are_paid_for():
    def rated(devices, strategy, state="none", **of):
        cluster = Cluster(peak=1e15, utilization=0.5, node=8, link=1e11, network=of.get("network", 1e15))
        return _with_rate(Row(devices, strategy, state, 4, 2, device_bytes=5), 10**9, 1024, 6e9, cluster)

    plain, again, parts = rated(16, "ddp"), rated(16, "ddp", "full"), rated(16, "fsdp")
    assert again.rate == pytest.approx(plain.rate * 3 / 4)
    assert plain.host_bytes == 8 * 4 * 10**9
    assert parts.sent == pytest.approx(plain.sent * 3)  # three times for each of two micro-batches, for twice
    slow = rated(16, "fsdp", network=1e9)
    assert (plain.bound, slow.bound) == ("products", "network") and slow.update_tokens == 4 * 2 * 1024 * 16
    assert slow.rate == pytest.approx(slow.update_tokens / (3 * 2 * 4e9 * 15 / 16 / 1e9))
    assert rated(8, "fsdp", network=1e9).rate == pytest.approx(8 * 8 * 1024 / (3 * 2 * 4e9 * 7 / 8 / 1e11))


@pytest.mark.slow
def test_seven_billion_weights_do_not_fit_one_gpu():
    plan = plan_preset("7 billion", [1, 8], Cluster())
    assert 6.5e9 < plan.weights < 7.5e9
    assert plan.rows[0].strategy is None and plan.rows[1].strategy == "fsdp"
    least = (16 * plan.weights / 8 + 4 * plan.weights) / GIB  # its parts, and all weights in a validation
    assert plan.rows[1].device_bytes / GIB > min(least, 16 * plan.weights / 8 / GIB)


def test_marks_that_are_missing_are_told():
    assert with_tables(f"a {BEGIN} b {END} c", []) == f"a {BEGIN}\n\n\n\n{END} c"
    with pytest.raises(ValueError, match="marks"):
        with_tables("no marks", [])
