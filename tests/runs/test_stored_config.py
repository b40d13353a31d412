"""Promises about a run's `config.yaml`: replaced in one step, found elsewhere where it is torn, blind to the rest."""

import json
import shutil
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from programs import run_script, train_tiny
from tiny import TINY

import frontpage.runs.save
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.stored_config import check_plain, stored_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("stored") / "run", "trainer.max_steps=2")


@pytest.fixture
def run(finished, tmp_path):
    forget_notices()
    return shutil.copytree(finished, tmp_path / "run")


TORN = {
    "empty": lambda text: b"",
    "one line": lambda text: text.split(b"\n")[0] + b"\n",
    "cut at a line": lambda text: b"\n".join(text.split(b"\n")[:20]) + b"\n",
    "cut within a line": lambda text: text[: text.index(b"\n", len(text) // 2) - 2],
    "cut in its last value": lambda text: text[:-3],
    "zeros, as a power cut leaves them": lambda text: bytes(len(text)),
    "no text": lambda text: b"\xff\xfe" + text,
    "a list": lambda text: b"- 1\n- 2\n",
    "another mapping": lambda text: b"a: 1\n",
    "no YAML": lambda text: b"a: [1\nb: }\n",
    "an object": lambda text: b"!!python/object/apply:os.system ['exit 1']\n",
    "an open reference": lambda text: text.replace(b"name: gpt", b"name: ${oc.env:"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TORN)
def test_a_torn_config_is_taken_from_run_json_or_a_checkpoint_and_that_is_said(run, kind):
    whole = OmegaConf.load(run / "config.yaml")
    (run / "config.yaml").write_bytes(TORN[kind]((run / "config.yaml").read_bytes()))
    assert stored_config(Run(run)) == whole
    assert f"{run}/config.yaml is damaged; the run's settings are those in {run}/run.json" in notices()
    (run / "run.json").write_text('{"status": "run')
    assert stored_config(Run(run)) == whole
    assert any("checkpoints/last.ckpt" in one for one in notices())
    load_run(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match=r"config\.yaml: damaged, and neither run\.json nor a checkpoint"):
        stored_config(Run(run))


@pytest.mark.slow
def test_a_run_goes_on_with_a_torn_config_and_writes_it_anew(run, command, capfd):
    whole = (run / "config.yaml").read_text()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    (run / "config.yaml").write_text("")
    same = [f"hydra.run.dir={run}", "trainer.max_steps=2", "ckpt_path=last"]
    outcome = command(*TINY, *same, f"paths.log_dir={record['config']['paths']['log_dir']}")
    assert outcome.status == 0, outcome.stderr
    assert "config.yaml is damaged" in outcome.stdout and "(was null)" not in outcome.stdout
    assert OmegaConf.create(whole).keys() == OmegaConf.load(run / "config.yaml").keys()


def test_a_config_that_cannot_be_written_leaves_the_old_one(run, monkeypatch):
    before = (run / "config.yaml").read_bytes()

    def half(content, path):
        path.write_text("name: g")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frontpage.runs.save.OmegaConf, "save", half)
    data = SimpleNamespace(training_texts=list, other_texts=list)
    with pytest.raises(OSError, match="No space left"):
        frontpage.runs.save.save_run(Run(run), {"name": "other"}, data, None)
    assert (run / "config.yaml").read_bytes() == before
    assert not list(run.glob("*.partial"))


# What a stored config may not ask for


ASKING = [
    "${oc.env:FP_PLANTED}",
    "/x/${oc.env:FP_PLANTED,none}.parquet",
    "${oc.decode:${oc.env:FP_PLANTED}}",
    "${${name}:FP_PLANTED}",
    "${oc.${name}:FP_PLANTED}",
    "${name}${oc.env:FP_PLANTED}",
    "${ oc.env:FP_PLANTED}",
    "${hydra:runtime.cwd}",
    "${monitored:x}",
    "${oc.create:{a:1}}",
]


@pytest.mark.parametrize("text", ASKING)
def test_nothing_is_read_from_the_environment_of_whoever_opens_a_run(run, text, monkeypatch, capfd):
    monkeypatch.setenv("FP_PLANTED", "planted-9f8e7d")
    config = OmegaConf.load(run / "config.yaml")
    for place in ("path", "column"):
        config.data[place] = text
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(UserError, match=r"data\.path="):
        load_run(run)
    for name, arguments in (("report", [run, "--compare", "--output", run / "page.html"]), ("generate", [run])):
        ended = run_script(capfd, name, *arguments)
        assert ended.status == 2 and "data.path=" in ended.stderr
        assert "planted" not in ended.stdout + ended.stderr


def test_references_within_a_config_are_followed():
    check_plain({"a": "${b.c}", "b": ["x ${.d} y", 1, None], "c": {"d": "$5 {e}"}}, "a file")
    with pytest.raises(UserError, match=r"b\.1\.c=.*in a file"):
        check_plain({"b": [1, {"c": "${oc.env:HOME}"}]}, "a file")
    with pytest.raises(UserError, match="reads nothing"):
        check_plain({"${oc.env:HOME}": 1}, "a file")
