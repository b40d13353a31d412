"""Promises about secrets: `.env` is read, and what is secret stands in no file of a run and in no message."""

import os

import pytest
from tiny import TINY

from frontpage.command import masking as secrets
from frontpage.command.env_file import load_env_file
from frontpage.command.errors import UserError
from frontpage.command.masking import hide, hide_all, is_secret, mask

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
        'FP_QUOTED="a # b"\nFP_EMPTY=\nFP_SET=again\nFP_EQUALS=a=b\nFP_DOLLAR=p$HOME\nFP_WORDS=two words\n'
    )
    assert load_env_file() == [
        "FP_PLAIN", "FP_EXPORTED", "FP_BLANKS", "FP_QUOTED", "FP_EMPTY", "FP_SET", "FP_EQUALS", "FP_DOLLAR", "FP_WORDS",
    ]  # fmt: skip
    found = {name: value for name, value in os.environ.items() if name.startswith("FP_")}
    assert found == {
        "FP_PLAIN": "plain",
        "FP_EXPORTED": "exported",
        "FP_BLANKS": "two words",
        "FP_QUOTED": "a # b",
        "FP_SET": "already",
        "FP_EQUALS": "a=b",
        "FP_DOLLAR": "p$HOME",
        "FP_WORDS": "two words",
    }


def test_without_a_file_nothing_happens(tmp_path):
    before = dict(os.environ)
    assert load_env_file(tmp_path / ".env") == []
    (tmp_path / ".env").mkdir()  # of a virtual environment
    assert load_env_file(tmp_path / ".env") == []
    assert dict(os.environ) == before


@pytest.mark.parametrize("line", ["WANDB_API_KEY planted", "=planted", "FP_X='planted", "planted"])
def test_a_line_that_cannot_be_read_is_a_mistake_that_does_not_show_it(env_file, command, line):
    env_file(f"FP_GOOD=1\n\n{line}\n")
    with pytest.raises(UserError, match=r"\.env, line 3: not KEY=VALUE"):
        load_env_file()
    assert "FP_GOOD" not in os.environ  # nothing of a file that is not understood
    outcome = command(*TINY)
    assert outcome.status == 2 and ".env, line 3" in outcome.stderr
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
        ("https:/me:pw@host/x.csv", "https:/me:***@host/x.csv"),  # as a path spells it
        ("data.path=https:/me:1234@host/x", "data.path=https:/me:***@host/x"),
        ("http:/host:80/a@b", "http:/host:80/a@b"),
        ("+aws_secret_access_key=AB/c+d== seed=1", "+aws_secret_access_key=*** seed=1"),
        ("+x.private_key=abc ++clientSecret=abc", "+x.private_key=*** ++clientSecret=***"),
        ("+x.pwd=ab'c\"d seed=1", "+x.pwd=*** seed=1"),
        ("+x.password='it\\'s \"fine\"' seed=2", "+x.password=*** seed=2"),
        ('+x.passphrase="two words" seed=2', "+x.passphrase=*** seed=2"),
        ("+x={password:hush,user:me}", "+x={password:***,user:me}"),
        ("{'password': 'hush hush', 'n': 1}", "{'password': ***, 'n': 1}"),
        ("x.tokens=[a1,b2] x.tokens=abc", "x.tokens=*** x.tokens=***"),
        ("https://h/x?token=abc&user=me&sig=ab%20", "https://h/x?token=***&user=me&sig=***"),
        ("url=https://h/?password=abc&b=c z=1", "url=https://h/?password=***&b=c z=1"),
        ("AKIAIOSFODNN7EXAMPLE in hf_abcdefghijklmnopqrstuvwxyz", "*** in ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- x", "*** x"),
        *(
            (text, text)
            for text in (
                "tokenizer.vocab_size=300 monkey=7 val/tokens=3",
                "data.evaluation_tokens=16384 callbacks.sample_titles.max_tokens=null tokens=1,024 tokens=1e6",
                "nats_per_token=3.2 keys=3 key=value monitor=val/loss password_file=/x",
                "the prompt ends with a blank, which belongs to the next token: leave it away",
                "experiment=quickstart 'data.path=\"my titles.csv\"'",
            )
        ),
    ],
)
def test_passwords_are_hidden_wherever_their_form_gives_them_away(text, shown):
    assert hide(text) == shown
    assert hide_all({"a": [text, 1, None], text: (2.5, True)}) == {"a": [shown, 1, None], shown: [2.5, True]}


def test_ordinary_settings_of_an_env_file_are_not_hidden(env_file):
    env_file("TOKENIZERS_PARALLELISM=false\nFP_PLACE=/data/titles\n")
    load_env_file()
    assert hide("bias=false path=/data/titles") == "bias=false path=/data/titles"


@pytest.mark.slow
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
    wild = ("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    diverged = command(*TINY, f"data.path={titles}", *wild)
    assert diverged.status == 1 and "diverged" in diverged.stderr
    assert len(run_directories()) == 2
    shown = refused.stdout + refused.stderr + outcome.stderr + diverged.stderr
    files = [path for run in run_directories() for path in run.rglob("*") if path.is_file()]
    assert len(files) > 20
    for name, secret in PLANTED.items():
        assert os.environ[name] == secret, "the file was not read"
        assert secret not in shown, name
        assert [path.name for path in files if secret.encode() in path.read_bytes()] == [], name


# By the shape of names and values


@pytest.mark.parametrize(
    "name", "api_key apiKey AWS_SECRET_ACCESS_KEY private_key pwd db-password secrets ssh_key".split()
)
def test_a_name_that_ends_in_a_secrets_word_hides_its_value_whatever_that_is(name):
    for value in ("x", 12345678, 1.5, ["a"], {"deeper": "b"}):
        assert is_secret(name, value) and mask({"a": [{name: value}]}) == {"a": [{name: "***"}]}
    for value in (None, "", True):
        assert mask({name: value}) == {name: value}


def test_tokens_are_a_secret_as_text_and_a_count_as_a_number():
    counts = {"evaluation_tokens": 16384, "max_tokens": "8", "tokens": [1, 2], "tokens_seen": 5, "tokenizer": "bpe"}
    assert mask(counts) == counts
    assert mask({"tokens": ["ab", 1], "hub_tokens": "ab", "token": 1}) == dict.fromkeys(
        ("tokens", "hub_tokens", "token"), "***"
    )


def test_what_stood_under_a_secrets_name_is_hidden_elsewhere_too():
    mask({"credentials": {"user": "me", "words": ['it\'s "hush" hush', 98765432]}})
    assert hide('told: it\'s "hush" hush and 98765432 of me') == "told: *** and *** of me"


@pytest.mark.slow
def test_secrets_with_quotes_and_blanks_stand_in_no_file_of_a_run_and_in_no_message(command, run_directories, tmp_path):
    given = {
        "+aws_secret_access_key": "AB/c+d9f8e7d",
        "+x.private_key": "k9f8e7dprivate",
        "+x.pwd": "p9w",
        "+x.passphrase": "two 'quoted' words",
        "+x.password": 'inner"quote',
        "+x.tokens": "t9f8e7dtoken",
    }
    quoted = {"+x.passphrase": "\"two 'quoted' words\"", "+x.password": "'inner\"quote'"}
    words = [f"{key}={quoted.get(key, value)}" for key, value in given.items()]
    refused = command(*TINY, *words, "model.n_head=3")
    outcome = command(*TINY, *words, "trainer.max_steps=1")
    path = command(*TINY, *words, "data=hn_titles", "data.path=https://me:h9f8e7d@host/titles.csv")
    wrong = command(*TINY, "+model.password=\"two 'quoted' words\"")
    assert (refused.status, outcome.status, path.status, wrong.status) == (2, 0, 2, 2), outcome.stderr
    (run,) = run_directories()
    shown = "".join(one.stdout + one.stderr for one in (refused, outcome, path, wrong))
    written = shown.encode() + b"".join(file.read_bytes() for file in run.rglob("*") if file.is_file())
    for secret in (*given.values(), "quoted", "h9f8e7d"):
        assert secret.encode() not in written, secret
