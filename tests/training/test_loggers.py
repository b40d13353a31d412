"""Promises of the loggers: which of them run, that they end with the run, and that no network is waited for."""

import csv
import json
import re
import socket
import sys
import threading
import time

import pytest
from run_outputs import offline_runs, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.command.notices import forget_notices, notices
from frontpage.training.loggers import wandb_run
from frontpage.training.loggers.wandb_run import WandbRun, choose_mode, reachable, without_hosts

SHORT = (*TINY, "trainer.max_steps=3", "log_interval=1")


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """An environment in which nobody has set anything up for Weights & Biases."""
    for name in (
        "WANDB_MODE",
        "WANDB_API_KEY",
        "WANDB_BASE_URL",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    forget_notices()
    return monkeypatch


@pytest.fixture
def finished_with(monkeypatch):
    """The exit codes with which runs of Weights & Biases were finished."""
    import wandb

    codes, finish = [], wandb.sdk.wandb_run.Run.finish

    def recorded(self, exit_code=None, **others):
        codes.append(exit_code)
        finish(self, exit_code, **others)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "finish", recorded)
    return codes


@pytest.mark.parametrize("chosen", ["all", "[csv,wandb,tensorboard]", "[tensorboard,wandb]"])
def test_loggers_are_chosen_together(config, chosen):
    assert sorted(config(f"logger={chosen}").logger) == ["csv", "tensorboard", "wandb"]


@pytest.mark.slow
def test_several_loggers_at_once(command, run_directories, finished_with, tmp_path):
    """Each has all that a run logs, the test set's metrics, which come last, included."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    file = tmp_path / "test.txt"
    file.write_text("Show HN: a title\nAsk HN: another?\n")
    outcome = command(*SHORT, "logger=all", f"data.test_path={file}", "test=true")
    assert (outcome.status, outcome.stderr) == (0, "")
    (directory,) = run_directories()
    nats = json.loads((directory / "run.json").read_text())["test"]["metrics"]["test/nats_per_char"]
    assert re.search(rf"^  test/nats_per_char +{nats:.4f} ", outcome.stdout, re.MULTILINE)
    with (directory / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["test/nats_per_char"] for row in rows if row["test/nats_per_char"]] == [str(nats)]
    events = EventAccumulator(str(directory / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("test/nats_per_char")] == [pytest.approx(nats)]
    (run,) = offline_runs(directory)
    content = run.read_bytes()
    for wanted in (b"train/loss", b"block_size", b"run.json", b"samples.txt", b"metrics.csv", b"config.yaml"):
        assert wanted in content, wanted
    assert b"test/nats_per_char" in content
    assert finished_with == [0]


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(Interrupted("stopped"), 130), (RuntimeError("crash"), 1)])
def test_a_run_that_breaks_off_is_finished_with_its_exit_code(
    command, run_directories, finished_with, monkeypatch, error, code
):
    import frontpage.training.callbacks.stop_on_signal as module

    def stop(self, trainer):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module.StopOnSignal, "_stop_if_asked", stop)
        if code == 130:
            assert command(*SHORT, "logger=wandb").status == 130
        else:
            with pytest.raises(RuntimeError, match="crash"):
                command(*SHORT, "logger=wandb", "save_interval=1")
    assert finished_with == [code]
    (directory,) = run_directories()
    (first,) = offline_runs(directory)
    if code == 130:
        time.sleep(1.1)  # their folders are named by the second
        assert command(*SHORT, "logger=wandb", "ckpt_path=last").status == 0
        assert [path.name for path in offline_runs(directory)] == [first.name] * 2, "a resumed run continues its own"
        assert finished_with == [code, 0]


@pytest.mark.slow
def test_the_runs_of_a_search_are_a_group_and_each_is_finished(command, tmp_path, finished_with):
    """Also one that fails: the next must not be logged into it."""
    search = ["--multirun", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.study_name=together"]
    rates = ["optimizer.lr=choice(1e30,1e-3)", "trainer.gradient_clip_val=null", "scheduler.warmup=0", "optimizer=sgd"]
    assert command(*SHORT, "logger=wandb", *search, *rates).status == 0
    assert finished_with == [1, 0]
    for number in (0, 1):
        (run,) = offline_runs(tmp_path / f"logs/sweeps/together/{number}")
        assert b"together" in run.read_bytes()


def test_the_record_that_is_sent_names_no_machine():
    processes = [{"rank": 0, "host": "node1", "device": "cpu"}, {"rank": 1, "host": "node2", "device": "cpu"}]
    sent = without_hosts({"steps": 3, "processes": processes})
    assert sent == {"steps": 3, "processes": [{"rank": 0, "device": "cpu"}, {"rank": 1, "device": "cpu"}]}
    assert without_hosts({"steps": 3}) == {"steps": 3}


def test_without_a_key_it_is_offline_and_says_so_once(unset):
    unset.setattr(wandb_run, "reachable", lambda url: pytest.fail("the network was asked"))
    assert choose_mode("auto") == "offline" == choose_mode("auto")
    assert len(notices()) == 1 and "WANDB_API_KEY" in notices()[0] and "wandb sync" in notices()[0]


def test_a_login_is_a_key(unset, tmp_path):
    assert not wandb_run.has_key()
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'0' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert wandb_run.has_key()


def test_with_a_key_the_network_decides(unset):
    unset.setenv("WANDB_API_KEY", "0" * 40)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        unset.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        unset.setenv("no_proxy", "*")
        assert choose_mode("auto") == "online" and notices() == []
    assert choose_mode("auto") == "offline"
    assert len(notices()) == 1 and "127.0.0.1 cannot be reached" in notices()[0]


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for(monkeypatch):
    gate = threading.Event()

    def connect(*arguments, **others):
        gate.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert not reachable("https://api.wandb.ai", seconds=0.05)
    gate.set()


def test_what_was_asked_for_is_not_discussed(unset):
    assert choose_mode("offline") == "offline" and choose_mode("online") == "online"
    unset.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == "disabled"
    assert notices() == []
    unset.setenv("WANDB_MODE", "nope")
    with pytest.raises(UserError, match="WANDB_MODE=nope: the environment variable; one of online offline"):
        choose_mode("auto")


@pytest.mark.parametrize("project", ["a/b", "", "x" * 129, "50%"])
def test_a_project_that_weights_and_biases_would_refuse_is_refused_at_once(tmp_path, unset, project):
    with pytest.raises(UserError, match="logger.wandb.project=.*at most 128 characters, without /"):
        WandbRun(tmp_path, project, "name", None, "offline")


@pytest.mark.slow
def test_a_run_has_its_entity_tags_and_notes_and_brings_its_events(command, run_directories, monkeypatch):
    import wandb

    brought, add_file = [], wandb.Artifact.add_file
    monkeypatch.setattr(
        wandb.Artifact, "add_file", lambda self, path, **how: brought.append(path) or add_file(self, path, **how)
    )
    words = ["entity=a-team", "tags=[small,muon]", "notes='To see, whether it holds.'", "group=ours"]
    assert command(*SHORT, "logger=wandb", *(f"logger.wandb.{word}" for word in words)).status == 0
    (directory,) = run_directories()
    (run,) = offline_runs(directory)
    content = run.read_bytes()
    for wanted in (b"a-team", b"small", b"muon", b"To see, whether it holds.", b"ours"):
        assert wanted in content, wanted
    assert str(directory / "events.jsonl") in brought


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"), [("entity", "''"), ("tags", "small"), ("tags", "[small,'']"), ("notes", "''")]
)
def test_entity_tags_and_notes_are_words(command, key, value):
    outcome = command(*SHORT, "logger=wandb", f"logger.wandb.{key}={value}")
    assert outcome.status == 2 and f"logger.wandb.{key}=" in outcome.stderr


@pytest.mark.slow
def test_an_unknown_mode_is_refused(command):
    outcome = command(*SHORT, "logger=wandb", "logger.wandb.mode=maybe")
    assert outcome.status == 2
    assert "logger.wandb.mode=maybe" in outcome.stderr and "auto online offline" in outcome.stderr


def test_a_key_that_is_refused_is_a_mistake(unset, tmp_path):
    from frontpage.command.errors import UserError

    unset.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match="logger.wandb.mode=online") as refused:
        WandbRun(tmp_path, project="p", name="n", group="g", mode="online").experiment  # noqa: B018
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.slow
def test_tensorboard_shows_each_update_of_a_run_that_broke_off_once(command, monkeypatch, tmp_path):
    """It broke off behind update 5, two behind its newest checkpoint."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = (*TINY, "trainer.max_steps=8", "log_interval=1", "save_interval=3", "logger=tensorboard")
    with monkeypatch.context() as patch:
        stop_at(patch, 5, False, RuntimeError("crash"))
        with pytest.raises(RuntimeError, match="crash"):
            command(*run, f"hydra.run.dir={tmp_path}/run")
    assert command(*run, f"hydra.run.dir={tmp_path}/run", "ckpt_path=last").status == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [one.step for one in events.Scalars("train/loss")] == [*range(8)]


@pytest.mark.slow
def test_tensorboard_without_its_extra(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = command(*SHORT, "logger=tensorboard")
    assert outcome.status == 2
    wanted = f"logger.tensorboard: needs the extra `tensorboard`: {installing('tensorboard')}"
    assert outcome.stderr.strip() == wanted


@pytest.mark.slow
def test_a_resumed_run_keeps_the_columns_of_its_file(command, tmp_path, monkeypatch):
    import frontpage.training.callbacks.stop_on_signal as module

    def stop(self, trainer):
        if trainer.global_step == 6:
            raise Interrupted("stopped")

    def header(name):
        with (tmp_path / name / "metrics.csv").open() as file:
            return next(csv.reader(file))

    arguments = (*TINY, "trainer.max_steps=12", "log_interval=2", "val_interval=4")
    assert command(*arguments, f"hydra.run.dir={tmp_path}/whole").status == 0
    with monkeypatch.context() as patch:
        patch.setattr(module.StopOnSignal, "_stop_if_asked", stop)
        assert command(*arguments, f"hydra.run.dir={tmp_path}/broken").status == 130
    before = header("broken")
    assert command(*arguments, f"hydra.run.dir={tmp_path}/broken", "ckpt_path=last").status == 0
    assert set(before) <= set(header("broken")) and header("broken") == header("whole")
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_any_other_logger_is_three_lines_in_a_folder_of_ones_own(command, run_directories, tmp_path):
    (tmp_path / "mine" / "logger").mkdir(parents=True)
    lines = ["own:", "  _target_: lightning.pytorch.loggers.CSVLogger", f"  save_dir: {tmp_path}/own"]
    (tmp_path / "mine" / "logger" / "x.yaml").write_text("\n".join(lines))
    assert command(*SHORT, f"--config-dir={tmp_path}/mine", "logger=[csv,x]").status == 0
    ((own,), (directory,)) = (tmp_path / "own").rglob("metrics.csv"), run_directories()
    for path in (own, directory / "metrics.csv"):
        with path.open() as table:
            assert len([row for row in csv.DictReader(table) if row["train/loss"]]) == 3
