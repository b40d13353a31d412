"""Promises of nats by position on the page of runs: what was measured is drawn and listed, damage is left out."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import json
import re

from programs import run_script
from run_folders import folder, fresh  # noqa: F401

ROWS = [
    {"first": 0, "end": 1, "documents": 3, "tokens": 3, "characters": 9, "nats": 18.0, "nats_per_char": 2.0},
    {"first": 1, "end": 2, "documents": 3, "tokens": 3, "characters": 8, "nats": 12.0, "nats_per_char": 1.5},
    {"first": 2, "end": 4, "documents": 1, "tokens": 2, "characters": 8, "nats": 10.0, "nats_per_char": 1.25},
]


def write(run, rows):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"nats_by_position": rows}))


def page_of(folder, capfd):
    assert run_script(capfd, "report", folder).status == 0
    text = (folder / "runs.html").read_text(encoding="utf-8")
    return text, re.findall(r"<circle[^>]*><title>(.*?)</title>", text)


def cells_of(text):
    table = re.search(r'<table id="positions-table">.*?</table>', text, re.DOTALL)[0]
    lines = re.findall(r"<tr.*?</tr>", table.replace("\n", ""))
    return [re.findall(r"<t[hd][^>]*>(?:<button[^>]*>)?(.*?)(?:</button>)?</t[hd]>", line) for line in lines]


def test_what_was_measured_is_drawn_and_listed(folder, capfd):
    write(folder / "a", [one | {"nats_per_char_se": 0.25} for one in ROWS])
    write(folder / "b", [one | {"nats_per_char_se": None, "nats_per_char": 3.0} for one in ROWS[:2]])
    text, said = page_of(folder, capfd)
    assert "<h2>Loss by position</h2>" in text
    assert {"logs/a at 0: 2", "logs/a at 1: 1.5", "logs/a at 2 to 3: 1.25", "b at 0: 3", "b at 1: 3"} <= {*said}
    heads, *lines = cells_of(text)
    assert heads == ["run", "0", "1", "2 to 3"]
    assert ["logs/a", "2.0000 ± 0.2500", "1.5000 ± 0.2500", "1.2500 ± 0.2500"] in lines
    assert ["b", "3.0000", "3.0000", ""] in lines and len(lines) == 2


def test_nothing_is_said_where_nothing_was_measured(folder, capfd):
    assert "Loss by position" not in page_of(folder, capfd)[0]


def test_what_damage_has_left_is_left_out(folder, capfd):
    damaged = [7, {"first": 0}, ROWS[0] | {"nats_per_char": "2"}, ROWS[0] | {"end": 0}, ROWS[1] | {"end": "2"}]
    write(folder / "a", [*damaged, ROWS[0] | {"nats_per_char": None}, ROWS[2]])
    write(folder / "b", "none")
    text, said = page_of(folder, capfd)
    assert [one for one in said if one.startswith("logs/a at")] == ["logs/a at 2 to 3: 1.25"]
    assert cells_of(text)[1:] == [["logs/a", "1.2500"]]
