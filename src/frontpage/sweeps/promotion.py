"""A trial as an experiment: what its config has beyond the experiment that it started from, as a YAML file."""

import copy
import functools
import re
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper  # the one that quotes texts which read as numbers

from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError
from frontpage.command.leaves import leaves
from frontpage.command.masking import HIDDEN
from frontpage.command.notices import notice
from frontpage.command.output_file import replace_file
from frontpage.command.override_words import literal, word
from frontpage.runs.stored_config import check_plain

EXPERIMENTS = Path(CONFIGS, "experiment")
SUFFIX = "_best"  # the tests of experiments leave such files out: they are records of a trial, made for it alone
OWN = ("name", "paths", "ckpt_path")  # of a run, not of an experiment
SETTING = (
    "hydra",
    "experiment",
    "hparams_search",
    "debug",
    "paths",
)  # groups whose options stand as keys or not at all
WIDTH = 118
INTERPOLATION = re.compile(r"\$\{")

Keys = dict[str, Any]  # nested, as a YAML file has them


class Promotion(NamedTuple):
    """What makes an experiment of a trial."""

    base: list[str]  # the experiments that it starts from; mostly one
    groups: dict[str, Any]  # options of groups that differ from the base's, e.g. model/attention: local
    added: set[str]  # those of the groups that the base does not have at all
    keys: Keys  # keys that differ from the base's
    new: set[str]  # those of the keys that the base does not have at all

    def overrides(self) -> list[str]:
        """The same as words of a command line."""
        words = _started(self.base)
        words += [f"{'+' * (group in self.added)}{group}={word(option)}" for group, option in self.groups.items()]
        plus = {path: "++" for path in self.new}
        return words + [f"{plus.get(path, '')}{path}={word(value)}" for path, value in leaves(self.keys)]

    def text(self, name: str, header: Sequence[str]) -> str:
        """The file `configs/experiment/NAME.yaml`, `header` as comments above its content."""
        lines = ["# @package _global_"]
        for paragraph in header:
            lines += textwrap.wrap(
                paragraph,
                WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        lines.append("defaults:")
        lines += [f"  - {name}" for name in self.base]
        for group, option in self.groups.items():
            kind = "" if group in self.added else "override "
            lines.append(f"  - {kind}/{group}: {word(option)}")
        lines.append("  - _self_")
        blocks = [{"name": name}, *({key: value} for key, value in self.keys.items())]
        return "\n".join(lines) + "\n\n" + "\n".join(map(_yaml, blocks))


def promotion_of(
    overrides: Sequence[str],
    recorded: Mapping[str, Any] | None,
    trial: str,
    folders: Sequence[Path | str] = (),
) -> Promotion:
    """What the config of a trial launched with `overrides` has beyond its experiment; `trial` names it in errors.

    `recorded` is the resolved config in its `run.json`: where configs/ have changed since, it wins, with a notice.
    `folders` hold more configs, as --config-dir adds them to a run. Raises UserError where an experiment file cannot
    say it, and for a value that would be read from the environment.
    """
    launched = [one for one in overrides if not re.match(r"[+~]*(hydra[./]|ckpt_path=|paths[./])", one)]
    removed = [one for one in launched if one.startswith("~")]
    if removed:
        raise UserError(f"{trial} was launched with {' '.join(removed)}: an experiment file cannot leave a key out")
    for source, content in (("its overrides", launched), ("its run.json", recorded)):
        check_plain(content, f"{source}, {trial}")
    wanted, choices = composed(launched, *folders)
    choices |= _lists(launched, folders)
    target = _keep(wanted, recorded, trial)
    chosen = choices.get("experiment") or []
    base = [chosen] if isinstance(chosen, str) else chosen
    before = composed(_started(base), *folders)[1]
    groups = {
        group: option
        for group, option in choices.items()
        if group.split("/")[0] not in SETTING and option != before.get(group)
    }
    added = {group for group in groups if group not in before}
    promotion = Promotion(base, groups, added, {}, set())
    start = composed(promotion.overrides(), *folders)[0]
    keys = _beyond(_shared(target), start)
    promotion = promotion._replace(keys=keys, new={path for path, _ in leaves(keys) if not _has(start, path)})
    _check(promotion, target, trial, folders)
    return promotion


def _started(base: list[str]) -> list[str]:
    return [f"experiment={word(base[0] if len(base) == 1 else base)}"] if base else []


def write_experiment(text: str, name: str, force: bool) -> Path:
    """Write `configs/experiment/NAME.yaml`; UserError where there is one and `force` is not set."""
    path = EXPERIMENTS / f"{name}.yaml"
    if path.exists() and not force:
        raise BadValue("--name", name, f"{path} exists; --force overwrites it, another --name keeps it")
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise BadValue("--name", name, f"{path} cannot be written ({error.strerror})") from error
    return path


def experiment_name(text: str) -> str:
    """A name for an experiment from that of a study, ending in `_best`; UserError where nothing is left of it."""
    name = re.sub(r"\W+", "_", text).strip("_")
    if not name:
        raise BadValue("--name", text, "letters, digits and _")
    return name if name.endswith(SUFFIX) else name + SUFFIX


def composed(overrides: Sequence[str], *folders: Path | str) -> tuple[Keys, dict[str, Any]]:
    """(the config as written, its interpolations kept; the options of its groups), `folders` added to configs/."""
    return copy.deepcopy(_compose(tuple(overrides), tuple(Path(one).absolute() for one in folders if one)))


def experiments_within(base: list[str], folders: Sequence[Path | str] = ()) -> set[str]:
    """The experiments that those of `base` are made of, themselves among them."""
    words = [*_search(tuple(Path(one).absolute() for one in folders)), "paths.run_dir=unknown", *_started(base)]
    with initialize_config_dir(CONFIGS):
        made_of = GlobalHydra.instance().config_loader().compute_defaults_list("train", words, RunMode.RUN).defaults
    paths = [str(one.config_path) for one in made_of]
    return {path.removeprefix("experiment/") for path in paths if path.startswith("experiment/")}


@functools.cache  # half a second each; configs/ are not edited meanwhile
def _compose(overrides: tuple[str, ...], folders: tuple[Path, ...]) -> tuple[Keys, dict[str, Any]]:
    with initialize_config_dir(CONFIGS):
        config = compose("train", [*_search(folders), "paths.run_dir=unknown", *overrides], return_hydra_config=True)
    content = OmegaConf.to_container(config, resolve=False)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    return {key: value for key, value in content.items() if key != "hydra"}, choices


def _search(folders: tuple[Path, ...]) -> list[str]:
    """The override that adds folders to configs/."""
    return [f"hydra.searchpath=[{','.join(literal(f'file://{folder}') for folder in folders)}]"] if folders else []


def _lists(overrides: Sequence[str], folders: Sequence[Path | str] = ()) -> dict[str, list[str]]:
    """Groups with several options, such as `logger=[csv,wandb]`, which Hydra does not name among its choices."""
    found = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = override.value()
        group = any(Path(folder, override.key_or_group).is_dir() for folder in (CONFIGS, *folders))
        if isinstance(value, list) and group:
            found[override.key_or_group] = [str(one) for one in value]
    return found


def _shared(config: Mapping[str, Any]) -> Keys:
    """What belongs to an experiment rather than to one run of it."""
    return {key: value for key, value in config.items() if key not in OWN}


def resolved(written: Keys, run: Mapping[str, Any] | None = None) -> Keys:
    """What a config means, its interpolations resolved with the name and the paths of `run`."""
    run = run or {}
    own = {"name": run.get("name", "any"), "paths": {**written["paths"], **run.get("paths", {})}}
    return _shared(OmegaConf.to_container(OmegaConf.create({**written, **own}), resolve=True))


def _keep(target: Keys, recorded: Mapping[str, Any] | None, trial: str) -> Keys:
    """`target` with the values of the trial's own record where those differ from what composes today."""
    if not recorded:
        notice(f"{trial} has no readable run.json: the config is composed from today's configs/")
        return target
    target, kept = copy.deepcopy(target), []
    for through_interpolations in (False, True):  # what others take over first: it often settles them as well
        now = dict(leaves(resolved(target, recorded)))
        for path, value in leaves(_shared(recorded)):
            if value == HIDDEN or (path in now and same_value(now[path], value)):
                continue
            if path.startswith("logger.") and path not in now:  # a logger has no such key any more
                continue
            place = _set(target, path, recorded, through_interpolations)
            kept += [place] if place and place not in kept else []
    new = [path for path in dict(leaves(resolved(target, recorded))) if not _has(recorded, path)]
    if kept:
        notice(f"configs/ have changed since {trial}; kept as it had them: {' '.join(kept)}")
    if new:
        notice(f"configs/ have keys that {trial} did not have, with today's defaults: {' '.join(new)}")
    return target


def _set(target: Keys, path: str, recorded: Mapping[str, Any], through_interpolations: bool) -> str | None:
    """Put the recorded value at `path`; an interpolation on the way is replaced where that is wanted, else left."""
    node, source, parts = target, recorded, path.split(".")
    for place, part in enumerate(parts):
        below = node.get(part)
        taken_over = isinstance(below, str) and INTERPOLATION.search(below)
        if taken_over and not through_interpolations:
            return None
        if taken_over or not isinstance(below, dict) or not isinstance(source[part], Mapping) or part == parts[-1]:
            node[part] = copy.deepcopy(source[part])
            return ".".join(parts[: place + 1])
        node, source = below, source[part]
    return None


def _has(node: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _beyond(target: Keys, base: Keys) -> Keys:
    """The keys of `target` that `base` lacks or has otherwise."""
    found: Keys = {}
    for key, value in target.items():
        if key in base and isinstance(value, dict) and isinstance(base[key], dict):
            below = _beyond(value, base[key])
            found |= {key: below} if below else {}
        elif key not in base or not same_value(value, base[key]):
            found[key] = value
    return found


def _check(promotion: Promotion, target: Keys, trial: str, folders: Sequence[Path | str]) -> None:
    """Compose the experiment from a file, as a run would, and compare with what it stands for."""
    with tempfile.TemporaryDirectory(prefix="frontpage_promote_") as folder:
        path = Path(folder, "experiment", "promoted.yaml")
        path.parent.mkdir()
        path.write_text(promotion.text("promoted", ["checked"]), encoding="utf-8")
        found = dict(leaves(resolved(composed(["experiment=promoted"], folder, *folders)[0])))
    wanted = dict(leaves(resolved(target)))
    wrong = [path for path in {**wanted, **found} if not same_value(wanted.get(path), found.get(path))]
    if wrong:
        raise UserError(f"{trial} cannot be written as an experiment: {' '.join(wrong[:5])} would differ")


def same_value(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1 is not 1.0 and not true."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return type(one) is type(other) and one == other


def _yaml(block: Keys) -> str:
    """A block of the file, lists on one line as the other experiments have them."""

    class Dumper(get_omega_conf_dumper()):  # type: ignore[misc]
        """Lists on one line."""

    Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True))
    return yaml.dump(block, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6)
