"""Names that libraries keep private and that our code uses: all of them, where they live, and what to do if they move.

A library may move such a name in any release. The failing line then says which, what we use it for, and what is to be
done. A new use is a new row; one that is no longer used is a row less.
"""

import importlib
import importlib.util
from pkgutil import resolve_name
from typing import NamedTuple

import pytest
from private_names import names_of, taken_over_in, used_in
from tiny import ROOT


class Row(NamedTuple):
    """A private name: the class or module that it lives in, and what to do where it is gone."""

    home: str
    instead: str


SWEEPER = "hydra_plugins.hydra_optuna_sweeper._impl"
TORCHAO = "torchao.prototype.quantized_training.int8_mixed_precision"
DISPATCH, TREE = "torch.utils._python_dispatch", "torch.utils._pytree"
NODE, TRAINER = "omegaconf.base:Node", "lightning.pytorch:Trainer"
LOOP = "lightning.pytorch.loops.training_epoch_loop"
LAUNCHER = "lightning.pytorch.strategies.launchers.subprocess_script"
MLFLOW, WANDB = "lightning.pytorch.loggers:MLFlowLogger", "lightning.pytorch.loggers:WandbLogger"
CSV = "lightning.fabric.loggers.csv_logs:_ExperimentWriter"
STOPPING = "lightning.pytorch.callbacks:EarlyStopping"

TABLE = {
    # Hydra and its sweeper: sweeps/
    f"{SWEEPER}.OptunaSweeperImpl": Row(SWEEPER, "write the points of a grid's axis in sweeps/ranges.py"),
    f"{SWEEPER}.create_optuna_distribution_from_override": Row(
        SWEEPER, "read a range into a distribution in sweeps/ranges.py, by Hydra's own OverridesParser"
    ),
    "._to_grid_sampler_choices": Row(f"{SWEEPER}:OptunaSweeperImpl", "as OptunaSweeperImpl, above"),
    "._return_value": Row("hydra.core.utils:JobReturn", "`return_value`, which raises where the job failed; loop.py"),
    # OmegaConf: reading a config without resolving it
    "omegaconf._utils.get_omega_conf_dumper": Row(
        "omegaconf._utils", "in sweeps/promotion.py a yaml.SafeDumper that quotes what reads as another type"
    ),
    "._get_node": Row("omegaconf:DictConfig", "OmegaConf.to_container(resolve=False), in command/run_folder.py"),
    "._value": Row(NODE, "as _get_node"),
    "._is_none": Row(NODE, "as _get_node: is it None there"),
    "._is_missing": Row(NODE, "OmegaConf.is_missing(parent, key)"),
    "._is_interpolation": Row(NODE, "OmegaConf.is_interpolation(parent, key)"),
    "._get_parent": Row(NODE, "hand the parent on, in training/preflight.py"),
    "._get_root": Row(NODE, "hand the config on, in command/mistakes.py"),
    "._get_full_key": Row(NODE, "`full_key` of the error, in command/mistakes.py"),
    # Optuna: what a study's storage holds by its own numbers
    "._storage": Row("optuna:Study", "hand on the storage that sweeps/storage.py opened, beside the study"),
    "._study_id": Row("optuna:Study", "the storage's get_study_id_from_name(study.study_name)"),
    "._trial_id": Row(
        "optuna:Trial", "the storage's get_trial_id_from_study_id_trial_number(study, trial.number); sweeps/"
    ),
    # Lightning: a logger
    "._kwargs": Row(
        "lightning.pytorch.loggers:TensorBoardLogger", "make the writer with purge_step, in loggers/tensorboard_run.py"
    ),
    # Lightning: the loop
    f"{LOOP}._TrainingEpochLoop": Row(
        LOOP, "training/validation_schedule.py is this loop with other answers: read the new one beside it"
    ),
    "lightning.pytorch.loops.fit_loop._FitLoop": Row(
        "lightning.pytorch.loops.fit_loop",
        "training/run_loop.py is this loop with another end: read the new one",
    ),
    "._should_accumulate": Row(f"{LOOP}:_TrainingEpochLoop", "count batches by recipe/steps.py"),
    "._should_check_val_fx": Row(f"{LOOP}:_TrainingEpochLoop", "what asks whether it is time to validate"),
    "._is_validation_done": Row(f"{LOOP}:_TrainingEpochLoop", "what says that a resumed run must validate again"),
    "._batches_that_stepped": Row(f"{LOOP}:_TrainingEpochLoop", "the counter that loggers take for the step"),
    "._restarting": Row("lightning.pytorch.loops.loop:_Loop", "the flag behind `restarting` of a resumed loop"),
    "._trainer": Row("lightning.pytorch:LightningModule", "`trainer`, which raises where there is none: catch that"),
    "._logger_connector": Row(
        TRAINER, "what says whether this is a logging step (`should_update_logs`): step % log_every_n_steps == 0"
    ),
    "._checkpoint_connector": Row(TRAINER, "runs/checkpoint_structure.py: what a checkpoint must hold of the loops"),
    "._get_loops_state_dict": Row(
        "lightning.pytorch.trainer.connectors.checkpoint_connector:_CheckpointConnector", "as _checkpoint_connector"
    ),
    "._signal_connector": Row(TRAINER, "training/trainer.py: SIGTERM must raise, not be noted"),
    "._sigterm_notifier_fn": Row(
        "lightning.pytorch.trainer.connectors.signal_connector:_SignalConnector", "as _signal_connector"
    ),
    # Lightning: several processes
    f"{LAUNCHER}._SubprocessScriptLauncher": Row(LAUNCHER, "training/processes.py starts the helpers by itself"),
    "._call_children_scripts": Row(f"{LAUNCHER}:_SubprocessScriptLauncher", "what starts the helpers"),
    "._launcher": Row("lightning.pytorch.strategies:Strategy", "training/processes.py: a strategy of our own"),
    "._ddp_kwargs": Row(
        "lightning.pytorch.strategies:DDPStrategy", "find_unused_parameters where the strategy is made, in trainer.py"
    ),
    "._data_parallel_size": Row(
        "lightning.pytorch.strategies:ModelParallelStrategy", "what training/fully_sharded.py divides the batch by"
    ),
    # Lightning: loggers and callbacks
    "._experiment": Row("lightning.pytorch.loggers:CSVLogger", "an attribute of our own in training/loggers/"),
    "._check_log_dir_exists": Row(CSV, "what refuses a folder that is there: metrics_file.py writes beside it"),
    "._rewrite_with_new_header": Row(CSV, "what metrics_file.py does when a column comes: write the file by itself"),
    "._wandb_init": Row(WANDB, "wandb_run.py: take `anonymous` out of what wandb.init is given, or drop the line"),
    "._id": Row(WANDB, "wandb_run.py: how a later use of the logger continues its run"),
    "._mlflow_client": Row(MLFLOW, "`experiment`, in training/loggers/mlflow_run.py"),
    "._experiment_name": Row(MLFLOW, "an attribute of our own in mlflow_run.py"),
    "._run_id": Row(MLFLOW, "`run_id`; mlflow_run.py sets it to continue a run"),
    "._initialized": Row(MLFLOW, "whether the client was used: an attribute of our own in mlflow_run.py"),
    "._should_skip_check": Row(STOPPING, "training/callbacks/early_stopping.py: decide by itself"),
    "._evaluate_stopping_criteria": Row(STOPPING, "as _should_skip_check"),
    # PyTorch
    "torch._dynamo": Row("torch._dynamo", "leave out the import: it only comes before memory is counted"),
    "torch._subclasses.fake_tensor.FakeTensorMode": Row(
        "torch._subclasses.fake_tensor", "tensors of sizes only, for the estimate of memory; `meta` tensors, at worst"
    ),
    f"{DISPATCH}.TorchDispatchMode": Row(DISPATCH, "what sees each operation of the estimate of memory: fake_step.py"),
    f"{DISPATCH}._disable_current_modes": Row(DISPATCH, "measure the peak before modes are entered: machine/flops.py"),
    f"{DISPATCH}.is_traceable_wrapper_subclass": Row(DISPATCH, "hasattr(tensor, '__tensor_flatten__')"),
    f"{TREE}.tree_map_with_path": Row(TREE, "walk dictionaries and lists by hand in runs/checkpoint_parts.py"),
    # torch and Lightning: how long processes wait for each other
    "._set_pg_timeout": Row(
        "torch.distributed.distributed_c10d", "a group of its own for process_times.py, or no limit"
    ),
    "._device_mesh": Row(
        "lightning.pytorch:LightningModule", "keep the mesh of FullySharded, and ask it for its groups"
    ),
    f"{TREE}.tree_flatten": Row(TREE, "torch.utils.pytree, or a walk over dicts and lists of our own"),
    f"{TREE}.tree_unflatten": Row(TREE, "as tree_flatten"),
    f"{TREE}.tree_leaves": Row(TREE, "as tree_flatten"),
    f"{TREE}.tree_map_only": Row(TREE, "as tree_flatten"),
    "._apply": Row("torch.nn:Module", "what `.to()` calls: how rotary tables keep their precision"),
    "._base": Row("torch:Tensor", "which fused weight a part is a view of: let modules name it (parameter_groups.py)"),
    "._version": Row("torch:Tensor", "the count of changes in place: documents.py would compare the values"),
    "._cdata": Row("torch:UntypedStorage", "which storage it is, of fake tensors as well: their StorageWeakRef"),
    "._to_copy": Row("torch.ops:aten", "the operation that casts a weight: see what a trace of `.to(dtype)` shows"),
    "._step_supports_amp_scaling": Row(
        "torch.optim:AdamW", "how a fused optimizer keeps the scaler from unscaling: training_module.py, fp16"
    ),
    # torchao: prototypes
    "._Int8MixedPrecisionTrainingLinearFunction": Row(TORCHAO, "the autograd function of precision=int8_mixed"),
    "._new_buffer": Row("torchao.optim.adam:_AdamBase", "how recipe/precision/own_adamw.py shares a table of states"),
    "._subclass_zeros": Row("torchao.optim.adam:_AdamBase", "as _new_buffer: an empty state of that class"),
}
FILES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), ROOT / "train.py", ROOT / "setup.py"]


@pytest.fixture(scope="module")
def used():
    """Where each name is used."""
    package = sorted((ROOT / "src").rglob("*.py"))
    modules = (".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in package)
    found = used_in(FILES)
    for name, places in taken_over_in(one.removesuffix(".__init__") for one in modules).items():
        found.setdefault(name, []).extend(places)
    return found


@pytest.mark.slow
def test_every_private_name_that_is_used_has_its_row(used):
    missing = {name: places for name, places in used.items() if name not in TABLE}
    assert missing == {}, "say in TABLE where it lives and what to do when it moves, or do without it"


def test_every_row_is_of_a_name_that_is_used(used):
    assert sorted({*TABLE} - {*used}) == [], "the code no longer uses these: take their rows out"


@pytest.mark.parametrize("name", TABLE)
def test_the_name_is_where_the_row_says(name):
    home, instead = TABLE[name]
    if importlib.util.find_spec(home.split(".")[0].split(":")[0]) is None:
        pytest.skip(f"{home.split('.')[0]} is not installed")
    last, moved = name.rpartition(".")[2], f"{name} is no longer in {home}; instead: {instead}"
    try:
        place = resolve_name(home) if ":" in home else importlib.import_module(home)
    except (ImportError, AttributeError):
        pytest.fail(moved)
    there = hasattr(place, last) or name == home or (isinstance(place, type) and last in names_of(place))
    assert there, moved


def test_the_finder_sees_imports_attributes_and_what_a_class_takes_over(tmp_path):
    (tmp_path / "one.py").write_text(
        "from far._inside import thing\nfrom far import _other, plain\nimport far._deep.more\n"
        "from frontpage.data import _ours\n\n\nclass One(plain):\n    def _mine(self):\n"
        "        self._kept = far.made._number, self._kept, self._replace(), self.__class__, self._theirs\n"
        "        super()._mine()\n        self.other._kept = getattr(far, '_read')\n"
    )
    there = {"far._inside.thing", "far._other", "far._deep.more", "._number", "._theirs", "._mine", "._kept", "._read"}
    assert {*used_in([tmp_path / "one.py"])} == there
