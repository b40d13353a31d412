"""Promises of the benchmark of attention over lengths: its slopes by value, and a picture that shows what was timed."""

import math

import pytest
import torch
from messages import check_message
from programs import run_script

from frontpage.analysis.benchmarks.attention import device_to_time, slopes
from frontpage.analysis.benchmarks.attention_picture import plotted
from frontpage.analysis.rate_plot import pyplot
from frontpage.command.errors import UserError

TIMES = {"causal": [1.0, 4.0, 32.0], "local": [3.0, 6.0, 12.0]}  # ms at 2,048, 4,096 and 8,192 tokens


def tables():
    lengths = (2048, 4096, 8192)
    found = {512: {name: row(9.0, 7) for name in TIMES}}  # below the least length: on no line
    return found | {
        length: {name: row(times[place], length * 10) for name, times in TIMES.items()}
        for place, length in enumerate(lengths)
    }


def row(milliseconds, peak):
    """What `auto` takes, beside a backend that it does not."""
    return {
        "auto": "cpp",
        "milliseconds": {"math": 1e6, "cpp": milliseconds},
        "peak_bytes": {"math": 10**12, "cpp": peak},
    }


def test_slopes_are_those_of_least_squares_through_the_logarithms():
    found = slopes(tables(), 2048)
    # 1, 4, 32 are 2^0, 2^2, 2^5 at 2^0, 2^1, 2^2: the line through the ends and the middle's rest rises by 2.5.
    assert found["causal"] == pytest.approx({"milliseconds": 2.5, "peak_bytes": 1.0})
    assert found["local"] == pytest.approx({"milliseconds": 1.0, "peak_bytes": 1.0})
    uneven = tables() | {16384: {name: row(32.0, 81920) for name in TIMES}}
    # 0, 2, 5, 5 at 0, 1, 2, 3: sum((x - 1.5) (y - 3)) / sum((x - 1.5)^2) = 9 / 5
    assert slopes(uneven, 2048)["causal"]["milliseconds"] == pytest.approx(9 / 5)
    assert slopes(tables(), 8192) == {}


def test_the_picture_has_every_length_and_the_slopes(tmp_path):
    figure = plotted(pyplot(tmp_path / "x.png"), {"lengths": tables()}, 2048)
    times, memory = figure.axes
    for axes, what in ((times, "milliseconds"), (memory, "peak_bytes")):
        drawn = {line.get_label().split(",")[0]: [*zip(*line.get_data(), strict=True)] for line in axes.lines}
        assert drawn == {
            name: [(length, table[name][what]["cpp"]) for length, table in tables().items()] for name in TIMES
        }
        assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [line.get_label() for line in times.lines] == ["causal, T^2.50", "local, T^1.00"]
    assert math.isclose(memory.lines[0].get_ydata()[-1], 81920)


@pytest.mark.parametrize("device", ["gpu0", "cuda"])
def test_a_device_that_is_not_there_is_refused(device, capfd, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ended = run_script(capfd, "benchmark_attention", "--device", device, "--only", "local", "--rounds", 1)
    assert ended.status == 2
    check_message(ended.stderr, [f"--device={device}: this machine has: auto cpu"])


def test_auto_is_a_device_whose_time_and_memory_are_measured(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for cuda, taken in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert device_to_time("auto") == taken
    with pytest.raises(UserError, match="--device=mps: auto, cpu or cuda"):
        device_to_time("mps")
