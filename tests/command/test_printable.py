"""The promise of text that others wrote: a terminal, a page and a file of lines show it as text and nothing else."""

import json
import unicodedata

import pytest
import torch
from tiny import TINY

from frontpage.analysis.pages.web_page.render import templates
from frontpage.command.errors import BadValue
from frontpage.command.json_file import write_json
from frontpage.command.notices import forget_notices, notice, notices
from frontpage.command.terminal import UNSAFE, printable, printable_json, printable_lines

HOSTILE = "a\x1b[31m\x07\r\nb\t\x7f\x9b2J\x85\u2028\u2029\u202ec\u2066\u200f\ud800"
SHOWN = r"a\x1b[31m\x07\r\nb\t\x7f\x9b2J\x85\u2028\u2029\u202ec\u2066\u200f\ud800"


def test_control_characters_are_made_visible():
    assert printable(HOSTILE) == SHOWN
    assert printable_lines("a\x1b\nb\r") == "a\\x1b\nb\\r"
    for safe in ("naïve “café” – …", "日本語", "👨\u200d👩\u200d👧 🚀", "e\u0301", "no\u00a0break", "C:\\new"):
        assert printable(safe) == safe


@pytest.mark.slow
def test_every_character_that_acts_is_escaped_and_no_letter_is():
    for number in range(0x110000):
        letter = chr(number)
        kind = unicodedata.category(letter)
        acts = kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        )
        escaped = UNSAFE.match(letter) is not None
        assert escaped or not acts, hex(number)
        assert not escaped or acts or kind == "Cf", hex(number)


def test_json_means_what_it_meant():
    for indent in (None, 1):
        plain = json.dumps({"title": [HOSTILE, "é 日本"]}, ensure_ascii=False, indent=indent)
        safe = printable_json(plain)
        assert json.loads(safe) == {"title": [HOSTILE, "é 日本"]}
        assert "é 日本" in safe and not UNSAFE.search(safe.replace("\n", ""))


def test_records_notices_messages_and_pages(tmp_path):
    write_json(tmp_path / "run.json", {"title": HOSTILE})
    written = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert json.loads(written) == {"title": HOSTILE} and not UNSAFE.search(written.replace("\n", ""))
    forget_notices()
    notice(f"row 1 holds {HOSTILE}")
    assert notices() == [f"row 1 holds {SHOWN}"]
    shown = templates().from_string("{{ value }}").render(value=f"<b>{HOSTILE}")
    assert shown == "&lt;b&gt;" + SHOWN.replace("\\n", "\n")
    assert str(BadValue("data.path", "a\nb\x1b", "no such file")) == "data.path=a\\nb\\x1b: no such file"


def test_what_another_library_says_in_a_mistake_is_one_line_and_advice_the_next():
    said = BadValue("data.path", "a.parquet", "cannot be read (no column\n  title\r\n\nin the schema)")
    assert str(said) == "data.path=a.parquet: cannot be read (no column title in the schema)"
    said.advice = "name\nanother"
    assert str(said).split("\n")[1:] == ["name another"]


@pytest.mark.slow
def test_a_mistake_with_control_characters_is_one_line(command, tmp_path):
    outcome = command(*TINY, f'data.path="{tmp_path}/a\x1b[31m\u202eb.csv"')
    assert outcome.status == 2 and "\\x1b[31m\\u202eb.csv: no such file" in outcome.stderr
    assert not UNSAFE.search(outcome.stderr.rstrip("\n"))


@pytest.fixture
def titles_of_hostile_words(tmp_path):
    """A file of titles with controls and line ends inside."""
    path = tmp_path / "titles.jsonl"
    path.write_text("".join(json.dumps({"title": f"{n}\x1b[31m\x9b \n {n}"}) + "\n" for n in range(200)))
    return path


@pytest.mark.slow
def test_invented_titles_take_a_line_each(command, run_directories, titles_of_hostile_words):
    torch.manual_seed(0)
    asked = ["callbacks.sample_titles.num=4", "data.num_titles=null", "tokenizer=bytes", "tokenizer.vocab_size=259"]
    shown = [one for one in TINY if not one.startswith(("callbacks.sample", "~callbacks", "tokenizer"))]
    outcome = command(*shown, *asked, f"data.path={titles_of_hostile_words}")
    assert (outcome.status, outcome.stderr) == (0, "")
    (directory,) = run_directories()
    for written in (outcome.stdout, (directory / "samples.txt").read_text(encoding="utf-8")):
        assert not UNSAFE.search(written.replace("\n", "").replace("\t", ""))
    lines = (directory / "samples.txt").read_text(encoding="utf-8").split("\n")[:-1]
    updates = [line for line in lines if line.startswith("update ")]
    assert len(lines) == len(updates) * 5 and updates
