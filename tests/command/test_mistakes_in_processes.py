"""The promise of a user's mistake, in processes of their own: what is on stderr, and the exit status.

Each takes the seconds that a process needs to start. What test_mistakes.py shows within one process is slow here.
"""

import os
import socket
import subprocess
import sys

import pytest
from messages import check_message, contents
from tiny import ROOT, TINY

PATIENCE = 60  # seconds after which a command hangs; it takes 4 to 11 on a quiet machine, and 20 are allowed


def python(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a real process in the repository root, which must not hang."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HYDRA_FULL_ERROR")
    }
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("data.blok_size=64", ["data.blok_size=64", "did you mean 'data.block_size'"]),
        pytest.param("data.path=nowhere.csv", ["data.path=nowhere.csv", "no such file"], marks=pytest.mark.slow),
        pytest.param("model.n_head=3", ["model.n_head=3", "must divide d_model=512"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_mistake_in_a_process_of_its_own(tmp_path, override, pieces):
    status, _, stderr = python("train.py", override, f"paths.log_dir={tmp_path}", f"paths.cache_dir={tmp_path}")
    assert status == 2
    check_message(stderr, pieces)
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("hub", ["offline", "refused", "silent"])
def test_the_hub_cannot_be_reached(tmp_path, hub):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # and never answers
        environment = {
            "offline": {"HF_HUB_OFFLINE": "1"},
            "refused": {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "silent": {"HF_ENDPOINT": f"http://127.0.0.1:{deaf.getsockname()[1]}"},
        }[hub]
        places = f"paths.log_dir={tmp_path}", f"paths.cache_dir={tmp_path}"
        status, _, stderr = python("train.py", *places, HF_HOME=str(tmp_path / "hub"), **environment)
    assert status == 2
    check_message(stderr, ["data=hn_titles", "julien040/hacker-news-posts", "data.path=...", "data=synthetic"])
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_the_whole_traceback_on_request(tmp_path):
    status, _, stderr = python("train.py", "sed=1", f"paths.log_dir={tmp_path}", HYDRA_FULL_ERROR="1")
    assert status == 2
    assert stderr.startswith("Traceback") and "Key 'sed' is not in struct" in stderr


@pytest.mark.slow
def test_any_other_error_is_1_and_shows_its_traceback(tmp_path):
    broken = "import sys, train; train.prepare = lambda *_: 1 / 0\n"
    broken += f"sys.argv = ['train.py', *{(*TINY, f'paths.log_dir={tmp_path}')!r}]; train.program(train.train)"
    status, _, stderr = python("-c", broken)
    assert status == 1
    assert stderr.startswith("Traceback") and stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "TaskError" not in stderr
