"""Promises of the report's pictures of monitors: what was measured is drawn, where it was, and damage is left out."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import json
import re

import pytest
from programs import run_script
from run_folders import NASTY, folder, fresh  # noqa: F401

from frontpage.analysis.pages.runs.monitors import measurements
from frontpage.analysis.pages.runs.pictures import TOP, Line, lines_of
from frontpage.analysis.pages.web_page.render import templates


def line_of(monitor, step, rows, **more):
    return {"monitor": monitor, "step": step, "rows": rows, **more}


def drawn(lines):
    """A picture of lines as the page has it, and its height."""
    picture = lines_of(lines, "x", "y")
    return templates().get_template("runs/pictures.html").module.lines(picture), picture.chart.height


def drift(layer, disparity):
    return {"mode": "drift", "layer": layer, "disparity": disparity, "shuffled": 0.9}


LAYERS = [
    {"mode": "layers", "layer": layer, "other": layer + 1, "disparity": 0.125 * layer, "shuffled": 0.875, "cka": 0.75}
    for layer in range(3)
]
CONCEPT = {"layer": 0, "silhouette": 0.25, "silhouette_permuted": -0.0625, "nmi": 0.5}
LINES = [
    line_of("procrustes", 10, LAYERS[:1]),
    line_of("procrustes", 20, [*LAYERS, drift(0, 0.5), drift(1, 0.25)]),
    line_of("procrustes", 30, [*LAYERS, drift(0, 0.375), drift(1, None)]),
    line_of("concepts", 20, [CONCEPT, CONCEPT | {"layer": 1, "silhouette": 0.75}], classes=["web", NASTY]),
]


def write(run, lines):
    (run / "monitors.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def said_of(folder, capfd):
    """(the page, the words of all its points)."""
    assert run_script(capfd, "report", folder).status == 0
    text = (folder / "runs.html").read_text(encoding="utf-8")
    return text, re.findall(r"<circle[^>]*><title>(.*?)</title>", text)


def test_what_was_measured_is_drawn(folder, capfd):
    write(folder / "a", LINES)
    text, said = said_of(folder, capfd)
    assert text.count('class="picture lines"') == 4 and "at update 30" in text and "What the monitors saw" in text
    assert {"disparity at 2: 0.25", "shuffled texts at 1: 0.875", "linear CKA at 0: 0.75"} <= {*said}
    assert {"mean of the layers at 20: 0.375", "mean of the layers at 30: 0.375", "layer 1 at 20: 0.25"} <= {*said}
    assert "layer 1 at 30" not in " ".join(said)
    assert {"silhouette at 20: 0.5", "permuted labels at 20: -0.0625", "silhouette at 1: 0.75", "NMI at 0: 0.5"} <= {
        *said
    }
    assert NASTY not in text and text.count("<script") == 2


def test_the_detectors_drop_and_state_are_drawn(folder, capfd):
    rows = [
        "step,grokking/drop,grokking/state,val/loss",
        "9,,0.0,",
        "19,0.0625,0.0,",
        "29,0.5,1.0,",
        "29,,,3.5",
        "39,x,2.0,",
    ]
    (folder / "a" / "metrics.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    text, said = said_of(folder, capfd)
    assert text.count('class="picture lines"') == 1 and "the detector of sudden changes" in text
    drop = [one for one in said if one.startswith("drop")]
    assert drop == ["drop, a share of the baseline at 20: 0.0625", "drop, a share of the baseline at 30: 0.5"]
    assert [one for one in said if one.startswith("state")] == [
        "state at 10: 0", "state at 20: 0", "state at 30: 1", "state at 40: 2",
    ]  # fmt: skip


def test_runs_without_monitors_have_no_such_part(folder, capfd):
    assert "What the monitors saw" not in said_of(folder, capfd)[0]


@pytest.mark.parametrize(
    "damage",
    [
        b'{"monitor": "procrustes", "st',
        b"\xff\xfe",
        b"[1, 2]",
        b'{"monitor": "procrustes", "step": "x", "rows": []}',
        b'{"monitor": "procrustes", "step": 40, "rows": {}}',
        b'{"monitor": "procrustes", "step": 40, "rows": [3, {"layer": "x"}, {"mode": "drift"}]}',
        b'{"monitor": "procrustes", "step": 40, "rows": [{"mode": "drift", "layer": 0, "disparity": "low"}]}',
        b'{"monitor": "procrustes", "step": 40, "rows": [{"mode": "layers", "layer": 0, "disparity": NaN}]}',
        b'{"monitor": ["concepts"], "step": 40, "rows": [{"layer": 0, "silhouette": 1e999}], "classes": 3}',
        b"[" * 100_000,
    ],
)
def test_damaged_lines_are_left_out(folder, capfd, damage):
    write(folder / "a", LINES)
    path = folder / "a" / "monitors.jsonl"
    path.write_bytes(path.read_bytes() + damage + b"\n")
    _, said = said_of(folder, capfd)
    assert {"disparity at 2: 0.25", "layer 1 at 20: 0.25", "silhouette at 20: 0.5"} <= {*said} or b"layers" in damage
    assert not any("nan" in one or "inf" in one or "low" in one for one in said)


def test_an_update_that_was_measured_twice_counts_once(tmp_path):
    write(tmp_path, [LINES[1], LINES[0], LINES[1] | {"rows": []}])
    found = measurements(tmp_path / "monitors.jsonl", "procrustes")
    assert [(one["step"], len(one["rows"])) for one in found] == [(10, 1), (20, 0)]
    assert measurements(tmp_path / "none.jsonl", "procrustes") == []


def test_points_lie_where_their_values_are():
    lines = [Line("one", [(0, 1.0), (5, 0.0), (10, 0.5)]), Line("none", []), Line("two", [(5, 1.0)], True)]
    text, height = drawn(lines)
    points = re.findall(r'<circle class="(c\d)" cx="([\d.]+)%" cy="([\d.]+)" r="4"><title>', text)
    (first, second, third), (alone,) = ([one[1:] for one in points if one[0] == colour] for colour in ("c0", "c2"))
    left, right = float(first[0]), float(third[0])
    assert (left, right) == (0, 100) and float(second[0]) == (left + right) / 2
    assert float(third[1]) == pytest.approx((float(first[1]) + float(second[1])) / 2, abs=0.06)
    assert TOP < float(first[1]) < float(second[1]) < height and alone[1] == first[1]
    assert text.count("<path") == 2 and text.count("baseline") == 1


def test_names_of_many_lines_stand_in_the_order_of_their_ends_each_with_its_colour():
    lines = [Line(f"layer {layer}", [(0, 0.5), (1, layer / 1e4)]) for layer in range(10)]
    names = re.findall(r'<i class="swatch c(\d)"></i>layer (\d)<', drawn(lines)[0])
    assert names == [(str(layer), str(layer)) for layer in reversed(range(10))]


def test_a_single_point_and_equal_values_can_be_drawn():
    assert drawn([Line("one", [(7, 0.0)])])[0].count("<circle") == 1
    assert lines_of([Line("one", [])], "x", "y") is None
