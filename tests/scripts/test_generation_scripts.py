"""Promises of generate.py and score.py: titles one after another, and each token's numbers as evaluate.py has them."""

import contextlib
import fcntl
import io
import json
import math
import os
import pty
import struct
import sys
import termios
import threading

import numpy as np
import pytest
from programs import run_script, train_tiny, write_csv

from frontpage.command.terminal import printable, redrawn
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.evaluation.scored_tokens import score_tokens
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.run_arguments import run_and_checkpoint
from frontpage.runs.training_titles import title_hashes

TITLES = [
    "Show HN: a parser for poets",
    "x",
    "東京 – “smart” café ☕👩‍💻 <eos>",
    "Ask HN: <b>why</b> & how?",
    "What a long title, and longer still, and no end of it at all, " * 2 + "here",  # longer than the block
    "tab\tinside, e\u0301 apart",
]
RUNS = {
    "bpe": ["tokenizer=bpe"],
    "unigram": ["tokenizer=unigram", "model/attention=sparsek", "data.block_size=16", "data.evaluation_tokens=40"],
    "bytes": ["tokenizer=bytes", "model/attention=gated_delta", "data.evaluation_row=48"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """runs(name) trains one of RUNS, once."""
    folder, made = tmp_path_factory.mktemp("generation"), {}

    def run(name):
        if name not in made:
            made[name] = train_tiny(folder / name, *RUNS[name], "data.num_titles=60", "trainer.max_steps=4")
        return made[name]

    return run


@pytest.fixture
def typed(monkeypatch):
    """typed(text) lets the next script read this text from stdin."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def scored(capfd, tmp_path, *arguments):
    output = tmp_path / "scored.json"
    ended = run_script(capfd, "score", *arguments, "--json", output)
    assert (ended.status, ended.stderr) == (0, ""), ended
    return json.loads(output.read_text(encoding="utf-8")), ended.stdout


@pytest.mark.slow
def test_nobody_reads_and_generating_ends(runs, capfd, monkeypatch, tmp_path):
    monkeypatch.setattr("frontpage.analysis.invention.reader_gone", lambda: True)
    arguments = (runs("bytes"), "--num", 30, "--batch", 10, "--max-tokens", 2)
    ended = run_script(capfd, "generate", *arguments)
    assert ended.status == 0 and ended.stderr == "" and ended.stdout.strip().endswith("of 10")
    ended = run_script(capfd, "generate", *arguments, "--json", tmp_path / "all.json")
    assert ended.status == 0 and len(json.loads((tmp_path / "all.json").read_text())) == 30


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_tokens_sum_up_to_what_an_evaluation_gives_each_title(runs, name):
    config, module = load_run(runs(name))
    expected = ScoredTitles(module, TITLES, config.data)
    found = score_tokens(module, TITLES, config.data, top=7)
    for one, nats, count, title in zip(found, expected.nll.tolist(), expected.scored.tolist(), TITLES, strict=True):
        assert one.title == title and len(one.tokens) == count
        assert one.nats == pytest.approx(nats, rel=1e-5)
        ids = [token.token for token in one.tokens]
        assert ids == [*module.tokenizer.encode(title), module.tokenizer.eos_id]
        assert b"".join(map(module.tokenizer.spelled, ids)).decode() == f" {title}"
        for token in one.tokens:
            costs = [nats for _, nats in token.alternatives]
            assert len(costs) == 7 and costs == sorted(costs)
            own = [place for place, (other, _) in enumerate(token.alternatives) if other == token.token]
            assert own == [token.rank - 1] if token.rank <= 7 else not own
            if own:
                assert costs[own[0]] == pytest.approx(token.nats, abs=1e-5)
            assert sum(math.exp(-cost) for cost in costs) <= 1 + 1e-6
    assert any(len(one.tokens) > config.data.block_size for one in found)  # what is scored in several windows


@pytest.mark.slow
def test_score_says_what_evaluate_says(runs, capfd, tmp_path):
    result, _ = scored(capfd, tmp_path, runs("bpe"), *TITLES, "--top", 3)
    path, output = write_csv(tmp_path / "titles.csv", TITLES), tmp_path / "evaluated.json"
    assert run_script(capfd, "evaluate", runs("bpe"), f"data.path={path}", "--json", output).status == 0
    expected = json.loads(output.read_text())["metrics"]
    assert result["nats_per_char"] == pytest.approx(expected["val/nats_per_char"], rel=1e-6)
    assert result["nats"] == pytest.approx(sum(one["nats"] for one in result["titles"]))
    for one in result["titles"]:
        assert one["nats"] == pytest.approx(sum(token["nats"] for token in one["tokens"]))
        assert one["nats_per_char"] == one["nats"] / (len(one["title"]) + 5)
        for token in one["tokens"]:
            assert token["probability"] == pytest.approx(math.exp(-token["nats"]))
            assert len(token["alternatives"]) == 3


@pytest.mark.slow
def test_score_shows_parts_of_characters_as_bytes(runs, capfd, tmp_path):
    result, text = scored(capfd, tmp_path, runs("bytes"), "a 東")
    assert [token["token"] for token in result["titles"][0]["tokens"]] == [*"␣a␣", "\\xe6", "\\x9d", "\\xb1", "<eos>"]
    assert bytes.fromhex("".join(token["bytes"] for token in result["titles"][0]["tokens"])).decode() == " a 東"
    assert "\\x9d" in text and "\033" not in text  # no colours where stdout is no terminal


@pytest.mark.slow
def test_score_reads_titles_from_stdin(runs, capfd, tmp_path, typed):
    typed("first title\n\n  東京 \r\nlast without an end".encode())
    result, _ = scored(capfd, tmp_path, runs("bpe"), "named", "-")
    assert [one["title"] for one in result["titles"]] == ["named", "first title", "東京", "last without an end"]


@pytest.fixture
def on_a_terminal(monkeypatch, capfd):
    """on_a_terminal(name, arguments) is what a script writes to a terminal of 24 lines of 80 columns."""

    def shown(name, *arguments, **environment):
        for variable in ("NO_COLOR", *environment):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in ({"TERM": "xterm-256color"} | environment).items():
            monkeypatch.setenv(variable, value)
        here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        text = bytearray()
        reader = threading.Thread(target=read_all, args=(here, text))
        reader.start()
        with open(there, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            ended = run_script(capfd, name, *arguments)
        reader.join()
        os.close(here)
        assert (ended.status, ended.stderr) == (0, "")
        return text.decode()

    return shown


def read_all(descriptor, text):
    """Collect what comes until the other side is closed, which Linux tells by an error."""
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 65536):
            text += part


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "environment"), [([], {}), (["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_score_has_colours_and_a_legend_on_a_terminal_that_wants_them(runs, arguments, environment, on_a_terminal):
    text = on_a_terminal("score", runs("bpe"), "Show HN: <x>", *arguments, **environment)
    assert ("\033[48;5;" in text) == ("7 and more" in text) == (not arguments and not environment)
    assert "<eos>" in text


@pytest.mark.slow
def test_titles_grow_on_a_terminal(runs, on_a_terminal):
    text = on_a_terminal("generate", runs("bytes"), "--num", 3, "--prompt", "Show", "--max-tokens", 6)
    drawn, taken_away = text.count("\033[2K\033[1A\033[2K\033[1A\033[2K"), text.split("\033[2K")[-1]
    assert drawn >= 6  # five times drawn again, then taken away
    assert taken_away.count("Show") == 3 and "different titles: 3 of 3" in taken_away
    assert text.count("\033[?25l") == text.count("\033[?25h") == 1  # the cursor comes back


def test_drawn_lines_are_cut_to_the_columns_of_a_terminal_and_stand_as_they_are(monkeypatch, capsys):
    """East Asian letters take two, rich's own marks are letters, and the cursor comes back."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "8")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with redrawn() as show:
        show(["a東" * 9, "[red]e\u0301 :smile:", "x"])
    shown = capsys.readouterr().out
    first, second, third = shown.split("\n")[:3]
    assert first.removeprefix("\033[?25l").rstrip() == "a東a東a" and second.rstrip() == "[red]e\u0301 :"
    assert shown.count("\033[?25l") == shown.count("\033[?25h") == 1 and shown.endswith("\033[2K")
    assert third.startswith("x\r\033[2K\033[1A\033[2K\033[1A\033[2K")


def test_generate_says_how_many_titles_are_copies(runs, capfd, tmp_path):
    output = tmp_path / "titles.json"
    arguments = (runs("bpe"), "--num", 4, "--temperature", 0, "--max-tokens", 3, "--json", output)
    ended = run_script(capfd, "generate", *arguments)
    assert "in the training set: 0 of 4 (0.0%); different titles: 1 of 4" in ended.stdout
    (title,) = {one["title"] for one in json.loads(output.read_text())}
    known = np.load(Run(runs("bpe")).titles_file)
    try:
        np.save(Run(runs("bpe")).titles_file, np.sort(title_hashes([title])))
        assert "in the training set: 4 of 4 (100.0%)" in run_script(capfd, "generate", *arguments).stdout
    finally:
        np.save(Run(runs("bpe")).titles_file, known)


@pytest.mark.slow
def test_generate_asks_for_one_prompt_after_another(runs, capfd, tmp_path, typed):
    typed(b"Show HN:\n\n" + b"x" * 300 + "\n\xff".encode("latin-1") + "\n東".encode())
    output = tmp_path / "titles.json"
    ended = run_script(capfd, "generate", runs("bpe"), "--interactive", "--num", 2, "--seed", 5, "--json", output)
    assert (ended.status, ended.stderr) == (0, "")
    assert "fill the block of 32" in ended.stdout and "not valid UTF-8" in ended.stdout
    result = json.loads(output.read_text(encoding="utf-8"))
    assert len(result) == 6
    assert "> Show HN:\n" in ended.stdout  # what came of a pipe stands where it was asked for
    for one, begun in zip(result, ["Show HN:"] * 2 + [""] * 2 + ["東"] * 2, strict=True):
        assert one["title"].startswith(begun)
    run_script(capfd, "generate", runs("bpe"), "--num", 2, "--seed", 6, "--json", output)
    assert json.loads(output.read_text()) == result[2:4]  # each prompt has the next seed


@pytest.mark.slow
def test_generate_takes_every_setting_and_a_checkpoint_for_a_run(runs, capfd, tmp_path):
    settings = "--temperature 0.8 --top-k 50 --top-p 0.9 --min-p 0.02 --repetition-penalty 1.2 --heal --seed 3".split()
    found = []
    for run, batch in ((runs("bpe"), 64), (runs("bpe") / "checkpoints" / "best.ckpt", 2)):
        output = tmp_path / "titles.json"
        arguments = (run, "--prompt", "Show H", "--num", 5, "--batch", batch, "--json", output, *settings)
        assert run_script(capfd, "generate", *arguments).status == 0
        found.append([one["title"] for one in json.loads(output.read_text(encoding="utf-8"))])
    assert found[0] == found[1] and all(title.startswith("Show H") for title in found[0])


MISTAKES = {
    "top-p 0": ("generate", ["--top-p", "0"], "above 0, at most 1"),
    "top-p above 1": ("generate", ["--top-p", "1.01"], "above 0, at most 1"),
    "min-p 1": ("generate", ["--min-p", "1"], "at least 0, below 1"),
    "min-p below 0": ("generate", ["--min-p=-0.1"], "at least 0, below 1"),
    "no penalty": ("generate", ["--repetition-penalty", "0"], "above 0"),
    "half a candidate": ("generate", ["--top-k", "1.5"], "a whole number, at least 1"),
    "empty prompt": ("generate", ["--prompt", ""], "empty"),
    "blank prompt": ("generate", ["--prompt", "  "], "empty"),
    "a blank first": ("generate", ["--prompt", " x"], "no title begins with a blank"),
    "no UTF-8": ("generate", ["--prompt", "a\udcff"], "not utf-8"),
    "two prompts": ("generate", ["--prompt", "a", "--prompt", "b"], "given more than once"),
    "two ways to ask": ("generate", ["--prompt", "x", "--interactive"], "--interactive"),
    "no title": ("score", [], "required"),
    "empty title": ("score", ["  "], "empty"),
    "title without UTF-8": ("score", ["a\udcff"], "not utf-8"),
    "half a top": ("score", ["x", "--top", "1.5"], "whole number"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_one_line(mistake, runs, capfd):
    name, arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, name, runs("bpe"), *arguments)
    assert ended.status == 2, ended
    assert said in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_a_checkpoint_names_its_run(runs, capfd):
    path = runs("bpe") / "checkpoints" / "last.ckpt"
    assert run_and_checkpoint(str(path), None) == (str(runs("bpe")), str(path))
    assert run_and_checkpoint(str(runs("bpe")), None) == (str(runs("bpe")), "best")
    ended = run_script(capfd, "score", path, "x", "--checkpoint", "best")
    assert ended.status == 2 and "names a checkpoint already" in ended.stderr


def test_what_a_terminal_would_act_upon_is_spelled():
    assert printable("a\033[2Jb\n\u202ec \x9b\u2028 é\u200d日") == "a\\x1b[2Jb\\n\\u202ec \\x9b\\u2028 é\u200d日"


@pytest.mark.slow
def test_a_blank_behind_the_prompt_is_noticed_and_healed(runs, capfd):
    plain = run_script(capfd, "generate", runs("bpe"), "--prompt", "Show HN: ", "--num", 1)
    assert plain.status == 0 and "the prompt ends with a blank" in plain.stdout
    healed = run_script(capfd, "generate", runs("bpe"), "--prompt", "Show HN: ", "--num", 1, "--heal")
    assert healed.status == 0 and "ends with a blank" not in healed.stdout
