"""Promises about secrets: `.env` is read, and what is secret stands in no file of a run and in no message."""

import os

import pytest
from tiny import TINY

from frontpage import secrets
from frontpage.env_file import load_env_file
from frontpage.errors import UserError
from frontpage.secrets import hide, hide_all

PLANTED = {name: f"planted-{name.lower()}-9f8e7d" for name in ("WANDB_API_KEY", "HF_TOKEN", "MY_DB_PASSWORD")}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test makes known as secret, or sets, is unknown to the next."""
    monkeypatch.setattr(secrets, "_variables", {*secrets._variables})
    monkeypatch.setattr(secrets, "_values", set())
    environment = dict(os.environ)
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """env_file(text) writes .env into the folder where commands are started."""
    for name in PLANTED:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def write(text):
        (tmp_path / "here" / ".env").write_text(text, encoding="utf-8")

    return write


def test_the_file_is_read_as_a_shell_would_and_what_is_set_wins(env_file, monkeypatch):
    monkeypatch.setenv("FP_SET", "already")
    env_file(
        "# a comment\n\nFP_PLAIN=plain # why\nexport FP_EXPORTED=exported\n  FP_BLANKS = 'two words' \n"
        'FP_QUOTED="a # b"\nFP_EMPTY=\nFP_SET=again\nFP_EQUALS=a=b\n'
    )
    assert load_env_file() == [
        "FP_PLAIN", "FP_EXPORTED", "FP_BLANKS", "FP_QUOTED", "FP_EMPTY", "FP_SET", "FP_EQUALS",
    ]  # fmt: skip
    found = {name: value for name, value in os.environ.items() if name.startswith("FP_")}
    assert found == {
        "FP_PLAIN": "plain",
        "FP_EXPORTED": "exported",
        "FP_BLANKS": "two words",
        "FP_QUOTED": "a # b",
        "FP_SET": "already",
        "FP_EQUALS": "a=b",
    }


def test_without_a_file_nothing_happens(tmp_path):
    before = dict(os.environ)
    assert load_env_file(tmp_path / ".env") == []
    (tmp_path / ".env").mkdir()  # of a virtual environment
    assert load_env_file(tmp_path / ".env") == []
    assert dict(os.environ) == before


@pytest.mark.parametrize("line", ["WANDB_API_KEY planted", "=planted", "FP_X='planted", "FP_X=planted with blanks"])
def test_a_line_that_cannot_be_read_is_a_mistake_that_does_not_show_it(env_file, command, line):
    env_file(f"FP_GOOD=1\n{line}\n")
    with pytest.raises(UserError, match=r"\.env, line 2: not KEY=VALUE"):
        load_env_file()
    outcome = command(*TINY)
    assert outcome.status == 2 and ".env, line 2" in outcome.stderr
    assert "planted" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@host:5432/studies", "postgresql://me:***@host:5432/studies"),
        (
            "hydra.sweeper.storage=mysql+pymysql://me:p%40ss:w@host/x y",
            "hydra.sweeper.storage=mysql+pymysql://me:***@host/x y",
        ),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("redis://:pw@host", "redis://:***@host"),
        ("postgresql://me:a/b@c@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=hush", "postgresql://host/db?user=me&password=***"),
        ("train.py +data.token=hush seed=1", "train.py +data.token=*** seed=1"),
        ("train.py +logger.wandb.api_key=hush", "train.py +logger.wandb.api_key=***"),
        ("tokenizer.vocab_size=300 monkey=7 val/tokens=3", "tokenizer.vocab_size=300 monkey=7 val/tokens=3"),
    ],
)
def test_passwords_are_hidden_wherever_their_form_gives_them_away(text, shown):
    assert hide(text) == shown
    assert hide_all({"a": [text, 1, None], text: (2.5, True)}) == {"a": [shown, 1, None], shown: [2.5, True]}


def test_ordinary_settings_of_an_env_file_are_not_hidden(env_file):
    env_file("TOKENIZERS_PARALLELISM=false\nFP_PLACE=/data/titles\n")
    load_env_file()
    assert hide("bias=false path=/data/titles") == "bias=false path=/data/titles"


def test_a_planted_secret_is_in_no_file_of_a_run_and_in_no_output(env_file, command, run_directories, tmp_path):
    """In .env and so in the environment, in the middle of other values of the config, below a key that names it."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    env_file("".join(f"{name}={value}\n" for name, value in PLANTED.items()))
    titles = tmp_path / f"titles-{PLANTED['HF_TOKEN']}.txt"
    titles.write_text("".join(f"Title number {number}: a story\n" for number in range(200)))
    url = f"postgresql://me:{PLANTED['MY_DB_PASSWORD']}@host/db"
    refused = command(*TINY, f"+data.token={url}")
    assert refused.status == 2 and "data.token=" in refused.stderr  # no such key; said without its value
    outcome = command(*TINY, f"data.path={titles}", "tokenizer.vocab_size=1000", "logger=all", "trainer.max_steps=3")
    assert outcome.status == 0, outcome.stderr
    with pytest.raises(RuntimeError, match="diverged"):
        command(*TINY, f"data.path={titles}", "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    assert len(run_directories()) == 2
    shown = refused.stdout + refused.stderr + outcome.stderr
    files = [path for run in run_directories() for path in run.rglob("*") if path.is_file()]
    assert len(files) > 20
    for name, secret in PLANTED.items():
        assert os.environ[name] == secret, "the file was not read"
        assert secret not in shown, name
        assert [path.name for path in files if secret.encode() in path.read_bytes()] == [], name
