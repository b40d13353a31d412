"""Promises of a push to the hub: what goes there and for whom, by a stand-in of its API; the metadata of the card."""

import json
import os
import subprocess
import sys

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
import yaml
from exports import TITLES, from_folder, ids_of, logits_by_hand
from hub import TOKEN, Hub
from programs import record_of, run_script, train_tiny
from tiny import ROOT

from frontpage.command.errors import UserError
from frontpage.command.terminal import printable
from frontpage.export.card import model_card
from frontpage.export.hub import HubRepository, places_named
from frontpage.export.own_names import load_export
from frontpage.runs.reopen import load_run

# The hub's own client, where it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=.*' to upload raw bytes:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("hub") / "run", "model=modern")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in that knows one token, which the environment holds, and no files by their chunks (Xet)."""
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    yield hub
    hub.close()


def push(capfd, run, output, *more, form="hf"):
    options = ("--format", form, "--no-verify", "--output", output, "--push", "somebody/titles")
    return run_script(capfd, "export", run, *options, *more)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["hf", "safetensors", "gguf"])
def test_what_is_pushed_is_the_folder_and_private(form, run, hub, tmp_path, capfd):
    ended = push(capfd, run, tmp_path / "out", "--json", tmp_path / "result.json", form=form)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    there = hub.repositories["somebody/titles"]
    assert there.private
    assert there.files == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    pushed = json.loads((tmp_path / "result.json").read_text())["pushed"]
    assert pushed["repository"] == f"{hub.url}/somebody/titles" and pushed["visibility"] == "private"
    assert f"pushed: {pushed['commit']}, private" in ended.stdout
    assert TOKEN not in ended.stdout


@pytest.mark.slow
@torch.no_grad()
def test_weights_that_come_back_from_the_hub_give_the_same_logits(run, hub, tmp_path, capfd):
    _, module = load_run(run)
    tokens = ids_of(module, TITLES[0])[:, :20]
    for form in ("hf", "safetensors"):
        hub.repositories.clear()
        assert push(capfd, run, tmp_path / form, form=form).status == 0
        back = tmp_path / f"{form} again"
        api = huggingface_hub.HfApi(endpoint=hub.url, token=TOKEN)
        for name in hub.repositories["somebody/titles"].files:
            api.hf_hub_download("somebody/titles", name, local_dir=back)
        if form == "hf":
            assert (logits_by_hand(*from_folder(back), tokens) - module(tokens)).abs().max() < 2e-5
        else:
            assert torch.equal(load_export(back)[1](tokens), module(tokens))


FROM_PRETRAINED = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (kind.from_pretrained("somebody/titles") for kind in (AutoModelForCausalLM, AutoTokenizer))
tokens = tokenizer(sys.argv[1], return_tensors="pt").input_ids[:, :20]
with torch.no_grad():
    print(json.dumps(model(tokens).logits.tolist()))
"""


@pytest.mark.slow
@torch.no_grad()
def test_from_pretrained_of_what_was_pushed_gives_the_same_logits(run, hub, tmp_path):
    """By transformers itself and by the repository's name, each program a process of its own."""
    pytest.importorskip("transformers", reason="pip install -e '.[transformers]'")
    places = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    environment = {**os.environ, **places, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    words = [run, "--format", "hf", "--output", tmp_path / "out", "--push", "somebody/titles"]
    for command in ([ROOT / "scripts" / "export.py", *words], ["-c", FROM_PRETRAINED, TITLES[0]]):
        ended = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=900
        )
        assert ended.returncode == 0, ended.stderr
    _, module = load_run(run)
    theirs = torch.tensor(json.loads(ended.stdout.splitlines()[-1]))
    assert (theirs - module(ids_of(module, TITLES[0])[:, :20])).abs().max() < 1e-5


@pytest.mark.slow
def test_a_dry_run_shows_all_and_asks_and_keeps_nothing(run, hub, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    for token, said in ((TOKEN, "HF_TOKEN is set"), ("", "HF_TOKEN is not set")):
        monkeypatch.setenv("HF_TOKEN", token)
        ended = push(capfd, run, tmp_path / "out", "--public", "--dry-run")
        assert (ended.status, ended.stderr) == (0, "")
        assert f"would be pushed: all of it to {hub.url}/somebody/titles, public; {said}" in ended.stdout
        for line in ("  model.safetensors ", "pipeline_tag: text-generation", "## Licence and limits"):
            assert line in ended.stdout, line
        assert TOKEN not in ended.stdout
    assert hub.asked == [] and not (tmp_path / "out").exists()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
def test_a_second_push_goes_to_the_same_place_and_says_what_it_leaves(run, hub, tmp_path, capfd):
    assert push(capfd, run, tmp_path / "first").status == 0
    ended = push(capfd, run, tmp_path / "second", form="gguf")
    assert ended.status == 0, ended.stderr
    assert "notice: left as they are there: config.json generation_config.json model.safetensors" in ended.stdout
    there = hub.repositories["somebody/titles"].files
    assert there["README.md"] == (tmp_path / "second" / "README.md").read_bytes()
    assert {"model.safetensors", f"{record_of(run)['config']['name']}-fp32.gguf"} <= {*there}


@pytest.mark.slow
@pytest.mark.parametrize("public", [False, True])
def test_a_repository_of_the_other_visibility_is_refused_before_all_work(public, run, hub, tmp_path, capfd):
    first, second = (["--public"] * chosen for chosen in (public, not public))
    assert push(capfd, run, tmp_path / "first", *first).status == 0
    assert hub.repositories["somebody/titles"].private is not public
    ended = push(capfd, run, tmp_path / "second", *second)
    assert ended.status == 2 and not (tmp_path / "second").exists()
    assert f"is {'public' if public else 'private'} already" in ended.stderr
    assert ("give --public" if public else "leave out --public") in ended.stderr


@pytest.mark.slow
def test_a_token_that_the_hub_refuses_is_named_and_not_shown(run, hub, tmp_path, capfd, monkeypatch):
    other = "hf_" + "unknown" * 5
    monkeypatch.setenv("HF_TOKEN", other)
    ended = push(capfd, run, tmp_path / "out")
    assert ended.status == 2 and not (tmp_path / "out").exists()
    assert ended.stderr == f"HF_TOKEN: {hub.url} does not know it\n"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.may_write = False
    ended = push(capfd, run, tmp_path / "out")
    assert ended.status == 2 and (tmp_path / "out" / "model.safetensors").exists()
    first, second = ended.stderr.splitlines()
    assert first == f"HF_TOKEN: {hub.url} does not let it write to somebody/titles"
    assert second.startswith(f"the export is kept in {tmp_path / 'out'}; `hf upload somebody/titles ")


@pytest.mark.slow
def test_only_the_environment_gives_a_token(run, hub, tmp_path, capfd, monkeypatch):
    """Not the file that `hf auth login` writes."""
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN")
    ended = push(capfd, run, tmp_path / "out")
    assert (ended.status, hub.asked) == (2, [])
    assert ended.stderr.startswith("HF_TOKEN: not set")


@pytest.mark.slow
def test_a_hub_that_does_not_answer_ends_with_1(run, hub, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ended = push(capfd, run, tmp_path / "out")
    assert ended.status == 1 and not (tmp_path / "out").exists()
    assert ended.stderr.startswith("http://127.0.0.1:9: no answer (") and len(ended.stderr.splitlines()) == 1


MISTAKES = {
    "no owner": (["--push", "titles"], "--push=titles: OWNER/NAME"),
    "two slashes": (["--push", "a/b/c"], "--push=a/b/c: OWNER/NAME"),
    "a name that the hub has not": (["--push", "a/b..c"], "--push=a/b..c: OWNER/NAME"),
    "public without a push": (["--public"], "--public is for --push"),
    "dry run without a push": (["--dry-run"], "--dry-run is for --push"),
    "licence": (["--license", "My Own"], "--license: 'My Own' is no identifier"),
    "language": (["--language", "English"], "--language: 'English' is no identifier"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_a_push_ends_with_2(mistake, run, tmp_path, capfd):
    arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, "export", run, "--format", "hf", "--output", tmp_path / "out", *arguments)
    assert ended.status == 2 and said in ended.stderr
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_offline_a_push_is_refused(run, hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE=1: a push needs the hub"):
        HubRepository("somebody/titles").look()


def test_places_of_a_machine_are_found_and_addresses_are_not(tmp_path):
    (tmp_path / "README.md").write_text("x=/srv/data/titles.parquet y, https://a.org/b/c, 12/34, and/or, `/a`")
    (tmp_path / "config.yaml").write_text("target: frontpage.models.gpt\n")
    assert places_named(tmp_path) == ["README.md names places of this machine: /srv/data/titles.parquet"]


def metadata_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def card_of(record, **options):
    settings = {"form": "hf", "architecture": "x", "checkpoint": "best", "facts": {"length": 5}}
    return model_card(record, **settings | options)


def test_the_metadata_of_a_card_says_what_was_measured(run, tmp_path, capfd):
    assert run_script(capfd, "export", run, "--format", "hf", "--no-verify", "--output", tmp_path / "out").status == 0
    metadata, best = metadata_of((tmp_path / "out" / "README.md").read_text()), record_of(run)["metrics"]["best"]
    assert (metadata["language"], metadata["license"], metadata["library_name"]) == ("en", "mit", "transformers")
    assert {"titles", "frontpage"} == {*metadata["tags"]}, "the grammar's are not of Hacker News"
    [result] = metadata["model-index"][0]["results"]
    assert result["task"] == {"type": "text-generation"} and result["dataset"]["split"] == "validation"
    measured = {metric["type"]: metric["value"] for metric in result["metrics"]}
    names = ("val/nats_per_char", "val/coverage", "val/bits_per_byte", "val/loss", "val/perplexity")
    assert {name: measured[name] for name in names} == {name: best[name] for name in names}
    assert measured["val/coverage"] == 1.0
    headline = result["metrics"][0]
    assert headline["type"] == "val/nats_per_char"
    assert headline["args"] == {"standard_error": best["val/nats_per_char_se"]}


def test_the_data_set_of_the_hub_is_named_with_its_commit_and_a_file_by_its_name():
    corpus = {"_target_": "frontpage.data.hn_titles.HNTitles", "repository": "julien040/hacker-news-posts"}
    data = {"source": "julien040/hacker-news-posts@abc", "train_titles": 9, "validation_titles": 1}
    record = {"data": data, "metrics": {"best": {"val/nats_per_char": 1.25}}, "config": {"data": corpus}}
    metadata = metadata_of(card_of(record))
    assert metadata["datasets"] == ["julien040/hacker-news-posts"] and metadata["license"] == "unknown"
    assert {"hacker-news", "titles", "frontpage"} == {*metadata["tags"]}
    about = metadata["model-index"][0]["results"][0]["dataset"]
    assert (about["type"], about["revision"]) == ("julien040/hacker-news-posts", "abc")
    record["data"]["source"] = record["config"]["data"]["path"] = "/srv/data/mine.parquet"
    metadata = metadata_of(card_of(record))
    assert "datasets" not in metadata
    about = metadata["model-index"][0]["results"][0]["dataset"]
    assert about == {"name": "validation titles of mine.parquet", "type": "titles", "split": "validation"}


def test_licence_and_language_are_what_was_asked_for():
    card = card_of({}, licence="cc-by-4.0", language="de")
    assert (metadata_of(card)["license"], metadata_of(card)["language"]) == ("cc-by-4.0", "de")
    assert "under the licence `cc-by-4.0`" in card
    assert metadata_of(card_of({}, language="en,de"))["language"] == ["en", "de"]
    nothing = metadata_of(card_of({}))
    assert nothing["license"] == "unknown" and "language" not in nothing and "model-index" not in nothing


def test_a_card_says_what_other_corpora_hold():
    questions = {"source": "plus modulo 59", "train_questions": 5, "validation_questions": 7}
    measured = {"val/accuracy": 0.5, "val/accuracy_se": 0.25, "val/loss": 2.0, "step": 3}
    card = card_of({"data": questions, "metrics": {"best": measured}})
    assert "language model of arithmetic modulo a number" in card and "1 + 2 =" in card
    assert not any(words in card for words in ("Show HN", "def nats", "whole title"))
    times = card_of({"data": questions, "config": {"data": {"operation": "times"}}})
    assert "1 * 2 =" in times
    of_answers = card_of({"data": questions, "metrics": {"best": {"val/nats_per_char": 0.5}}})
    assert "nats a character of the answers (`val/nats_per_char`)" in of_answers and "5 for its end" not in of_answers
    assert "| questions | 5 to train, 7 to validate |" in card
    assert "| `val/accuracy` | 0.5000 ± 0.2500 (standard error) |" in card
    assert "| nats a token (`val/loss`) | 2.0000 |" in card and "step" not in card.split("---\n")[2]


@pytest.mark.parametrize("text", ["a | b", "x\n---\nlicense: mit", "{{ 7 * 7 }}", "# <script>", "---"])
def test_no_text_of_a_record_breaks_out_of_its_place(text):
    record = {"config": {"name": text}, "command": text, "data": {"source": text, "train_titles": 1}, "status": text}
    record["metrics"] = {"best": {"val/loss": 1.0}}
    card = card_of(record)
    metadata = metadata_of(card)
    assert metadata["license"] == "unknown" and metadata["model-index"][0]["name"] == printable(text)
    plain = card_of({**record, "config": {}, "command": "", "data": {"train_titles": 1}, "status": ""})
    body, expected = (one.split("---\n\n# ", 1)[1].splitlines() for one in (card, plain))
    assert len(body) == len(expected)
    assert f"| source | {printable(text).replace('|', chr(92) + '|')} |" in body
