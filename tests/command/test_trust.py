"""Promises about whose classes are called: those that configs/ name, a user's own by request, no stranger's."""

import shutil

import pytest
import torch
from omegaconf import OmegaConf
from programs import run_script, train_tiny
from studies import add, new_study, record_of
from tiny import CONFIGS, ROOT, TINY, composed, options

from frontpage.analysis.comparison import compare
from frontpage.command.allowed_targets import (
    PLACES,
    TARGET,
    check_composed,
    check_recorded,
    check_stored,
    named_targets,
)
from frontpage.command.build import build, build_stored
from frontpage.command.errors import UserError
from frontpage.export.own_names import load_export
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.runs.reopen import load_run

SHELL = "torch.utils.collect_env.run_and_parse_first_match"
FOREIGN = [
    SHELL,
    "torch.hub.load",
    "torch.load",
    "torch.save",
    "torch.ops.load_library",
    "torch.utils.cpp_extension.load",
    "lightning.pytorch.cli.LightningCLI",
    "optuna.storages.RDBStorage",
    "os.system",
    "hydra.utils.get_method",
    "builtins.exec",
    "frontpage.machine.compiler.subprocess.run",
    "frontpage.runs.git_state.subprocess.run",
    "frontpage.data.files.Path",
    "frontpage.machine.compiler.compiled",
    "frontpage.sweeps.promotion.write_experiment",
    "frontpage.training.loggers.metrics_file.CSVLogger",
    "frontpage",
    "",
    None,
    ["torch.optim.AdamW"],
]
# Where a target can hide: in place of a value, of a node, nested, partial, in a list, among positional arguments.
PLACES_OF_ATTACKS = {
    "model.positions": lambda target: {"model": {"positions": target}},
    "model": lambda target: {"model": target},
    "model.attention": lambda target: {"model": {"attention": target}},
    "model.attention.backend": lambda target: {"model": {"attention": {"backend": target | {"_partial_": True}}}},
    "model.optimizer": lambda target: {"model": {"optimizer": target}},
    "model.optimizer.betas.1": lambda target: {"model": {"optimizer": {"betas": [0.9, target]}}},
    "model._args_.0": lambda target: {"model": {"_args_": [target]}},
    "data.tokenizer": lambda target: {"data": {"tokenizer": target | {"_partial_": True}}},
    "data.path": lambda target: {"data": {"path": {"deeper": [{"still": target}]}}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train_tiny(tmp_path_factory.mktemp("trust") / "run", "trainer.max_steps=1")


@pytest.fixture
def tampered(run, tmp_path):
    """tampered({...}) is a copy of the run whose config has been changed."""

    def make(changes):
        shutil.copytree(run, tmp_path / "copy")
        path = tmp_path / "copy" / "config.yaml"
        config = OmegaConf.load(path)
        for key, value in changes.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        path.write_text(OmegaConf.to_yaml(config))
        return tmp_path / "copy"

    return make


# A stored config


@pytest.mark.slow
@pytest.mark.parametrize("target", FOREIGN)
def test_a_stored_run_names_nothing_that_configs_do_not_offer_there(target, tmp_path):
    config = composed(*TINY)
    for place, changed in PLACES_OF_ATTACKS.items():
        stored = OmegaConf.to_container(OmegaConf.merge(config, {}), resolve=True)
        group = place.partition(".")[0]
        for key, value in changed({"_target_": target})[group].items() if place != group else ():
            stored[group][key] = value
        if place == group:
            stored[group] = {"_target_": target}
        with pytest.raises(UserError, match=r"_target_=.* is not trusted"):
            check_stored(stored[group], group, tmp_path)
        with pytest.raises(UserError, match=r"_target_=.* is not trusted"):
            build_stored(OmegaConf.create(stored)[group], group, tmp_path)


def test_a_class_of_ours_in_a_place_that_is_not_its_own_is_refused(tmp_path):
    for target in (
        "frontpage.training.loggers.metrics_file.MetricsFile",
        "frontpage.training.trainer.make_trainer",
        "torch.optim.AdamW",
    ):
        with pytest.raises(UserError, match="may name no class there"):
            check_stored({"positions": {"_target_": target}}, "model", tmp_path)
    with pytest.raises(UserError, match="it may name there: .*CausalAttention"):
        check_stored({"attention": {"_target_": "torch.optim.AdamW"}}, "model", tmp_path)


def test_the_places_are_those_that_configs_hand_over():
    for path in (*CONFIGS.glob("model/*.yaml"), *CONFIGS.glob("data/*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        for key, value in content.items():
            if isinstance(value, str) and (CONFIGS / value.strip("${}").replace(".", "/")).is_dir() and "${" in value:
                assert PLACES[f"{path.parent.name}.{key}"] == value.strip("${}")
    assert all(list((CONFIGS / group).glob("*.yaml")) for group in PLACES.values())


CHOSEN = [f"{group}={name}" for group in ("model", "model/attention") for name in options(group)]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_what_configs_compose_may_be_stored(chosen, tmp_path):
    config = OmegaConf.to_container(composed(chosen), resolve=True)
    for group in ("model", "data"):
        check_stored(config[group], group, tmp_path)
    check_recorded(config, tmp_path)


@pytest.mark.slow
def test_a_command_in_a_copied_run_is_not_run(tampered, tmp_path, capfd):
    mark = tmp_path / "mark"
    attack = {"_target_": SHELL, "command": f"touch {mark}", "regex": "(.*)"}
    attack["run_lambda"] = {"_target_": "torch.utils.collect_env.run", "_partial_": True}
    copy = tampered({"model.positions": attack, "data.path": attack})
    commands = {
        "generate": [copy],
        "evaluate": [copy, f"data.path={ROOT / 'README.md'}"],
        "score": [copy, "A title"],
        "export": [copy, "--format", "safetensors"],
        "report": [copy, "--compare", "--output", tmp_path / "page.html"],
        "collect_runs": [copy, "--compare"],
    }
    for name, arguments in commands.items():
        ended = run_script(capfd, name, *arguments)
        assert ended.status == 2, (name, ended)
        assert SHELL in ended.stderr and "--trust" in ended.stderr and len(ended.stderr.splitlines()) <= 2, ended.stderr
    assert not mark.exists()
    with pytest.raises(UserError, match="model.positions._target_"):
        compare([copy])
    assert not mark.exists()


@pytest.mark.slow
def test_an_export_is_as_little_trusted_as_a_run(run, tmp_path, capfd):
    pytest.importorskip("safetensors", reason="the extra export is not installed")
    assert run_script(capfd, "export", run, "--format", "safetensors", "--output", tmp_path / "out").status == 0
    load_export(tmp_path / "out")
    path = tmp_path / "out" / "config.yaml"
    config = OmegaConf.load(path)
    for target in (SHELL, "torch.load", "frontpage.models.gpt.GPT"):
        OmegaConf.save(OmegaConf.merge(config, {"model": {"attention": {"_target_": target}}}), path)
        with pytest.raises(UserError, match="model.attention._target_=.* is not trusted"):
            load_export(tmp_path / "out")


@pytest.mark.slow
def test_trust_is_for_the_run_it_names(tampered, tmp_path, monkeypatch, capfd):
    (tmp_path / "mine.py").write_text(
        "from frontpage.recipe.modules import GPTModule\n\n\nclass Mine(GPTModule):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    copy = tampered({"model._target_": "mine.Mine"})
    for path in (copy / "checkpoints").glob("*.ckpt"):  # as a run of that class would have written them
        content = torch.load(path, weights_only=True)
        content["provenance"]["model"]["_target_"] = "mine.Mine"
        CheckpointFile().save_checkpoint(content, path)
    (tmp_path / "other").mkdir()
    for trusted in ([], ["--trust", tmp_path / "other"]):
        ended = run_script(capfd, "generate", copy, "--num", 1, *trusted)
        assert ended.status == 2 and "model._target_=mine.Mine" in ended.stderr, ended
    ended = run_script(capfd, "generate", copy, "--num", 1, "--trust", tmp_path / "nowhere")
    assert ended.status == 2 and f"--trust={tmp_path}/nowhere" in ended.stderr
    for folder in (copy, tmp_path):
        assert run_script(capfd, "generate", copy, "--num", 1, "--trust", folder).status == 0
    assert type(load_run(copy, trusted=[copy])[1]).__name__ == "Mine"
    assert run_script(capfd, "generate", copy, "--num", 1).status == 2


# The command line


@pytest.mark.parametrize("target", [one for one in FOREIGN if isinstance(one, str) and one])
def test_no_config_file_names_it_so_no_command_line_may(target, command):
    for key in ("model.positions", "model.attention"):
        with pytest.raises(UserError, match="_target_=.*no such class of this package"):
            build(OmegaConf.create({"x": {"_target_": target}}), key)
    outcome = command(*TINY, f"model.attention._target_={target}")
    assert outcome.status == 2 and f"model.attention._target_={target}: no such class" in outcome.stderr


@pytest.mark.slow
def test_a_value_is_never_built(command):
    outcome = command(*TINY, "+model.d_ff._target_=frontpage.recipe.modules.GPTModule")
    assert outcome.status == 2
    outcome = command(*TINY, "model.positions={_target_:frontpage.data.tokenizer.bytes.bytes}")
    assert outcome.status == 2 and "model.positions=" in outcome.stderr


@pytest.mark.slow
def test_a_class_of_the_users_own_folder_trains_and_needs_trust_afterwards(
    command, run_directories, tmp_path, monkeypatch
):
    (tmp_path / "own.py").write_text(
        "from frontpage.recipe.modules import GPTModule\n\n\nclass Mine(GPTModule):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "mine"
    (folder / "model").mkdir(parents=True)
    text = (CONFIGS / "model" / "gpt.yaml").read_text().replace("frontpage.recipe.modules.GPTModule", "own.Mine")
    (folder / "model" / "mine.yaml").write_text(text)
    tests = tmp_path / "tests.txt"
    tests.write_text("A title\nAnother title\n")
    chosen = [*TINY, f"--config-dir={folder}", "model=mine", "trainer.max_steps=1"]
    outcome = command(*chosen, "test=true", f"data.test_path={tests}")  # which opens the run again, its own
    assert outcome.status == 0, outcome.stderr
    (run,) = run_directories()
    with pytest.raises(UserError, match="model._target_=own.Mine"):
        load_run(run)
    load_run(run, trusted=[run])
    outcome = command(*TINY, "model._target_=own.Mine")  # no file in use names it
    assert outcome.status == 2 and "--config-dir" in outcome.stderr


def test_the_list_holds_every_target_of_configs_and_nothing_wide():
    written = {name for path in CONFIGS.rglob("*.yaml") for name in TARGET.findall(path.read_text())}
    assert named_targets() == written and len(written) > 40
    assert not any("*" in name for name in written)
    check_composed(OmegaConf.to_container(composed(), resolve=True), "")


# A stored study


@pytest.mark.slow
@pytest.mark.parametrize("place", ["overrides", "record"])
def test_promote_writes_no_strangers_class_and_no_question_to_the_environment(place, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FP_PLANTED", "planted-9f8e7d")
    monkeypatch.setattr("frontpage.sweeps.promotion.EXPERIMENTS", tmp_path / "experiment")
    (tmp_path / "experiment").mkdir()
    attacks = {"model.positions._target_=": SHELL, "data.path=": "${oc.env:FP_PLANTED}"}
    for name, (key, value) in zip(("class", "environment"), attacks.items(), strict=True):
        overrides, record = [*TINY], record_of(1.0, config=OmegaConf.to_container(composed(*TINY), resolve=True))
        if place == "overrides":
            overrides.append(f"{key.replace('positions', 'attention')}'{value}'")
            record = record_of(1.0)
        elif name == "class":
            record["config"]["model"]["positions"] = {"_target_": value}
        else:
            record["config"]["data"]["path"] = value
        add(new_study(tmp_path / name), {"optimizer.lr": 0.01}, 1.0, record=record, overrides=overrides)
        ended = run_script(capfd, "promote", tmp_path / name)
        assert ended.status == 2 and value in ended.stderr and "planted" not in ended.stdout + ended.stderr, ended
    assert list((tmp_path / "experiment").iterdir()) == []
    if place == "overrides":
        assert run_script(capfd, "promote", tmp_path / "class", "--trust", tmp_path / "class").status == 0
