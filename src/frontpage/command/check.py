"""What is wrong with a composed config by itself, found before anything is read or built.

The types and the limits (command/limits.py) that a key may have are those of the parameter that takes it, so a new
option's keys are checked by themselves. What no signature of ours says stands in Rules.
"""

import functools
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from frontpage.command.allowed_targets import check_target
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.limits import Limit
from frontpage.command.old_names import refuse_old_name

Kinds = Mapping[str, Any]  # names and their types, annotations with limits
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
ANYTHING = "**"
LATE = ("vocab_size", "callbacks", "logger")  # what the program itself gives to what it builds
STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Rules:
    """What a check needs beside the signatures of what a config builds.

    `root` has the types of the keys that stand in no node. `borrowed` has those of parameters of classes that are not
    ours, under what the name of a target begins with. `narrowed` says of a node which of its target's parameters may
    be set there: `narrow(node, kinds)` gives them, or raises UserError.
    """

    root: Kinds
    borrowed: Mapping[str, Kinds] = field(default_factory=dict)
    narrowed: Mapping[str, Callable[[DictConfig, Kinds], Kinds]] = field(default_factory=dict)


def check_nodes(config: DictConfig, rules: Rules) -> None:
    """Raise a UserError for an unknown key, a value of a wrong type, or one outside its limits."""
    for name, kind in rules.root.items():
        check_value(name, config[name], kind)
    for name in config:
        if isinstance(config[name], DictConfig):
            _check_node(config[name], str(name), rules)
        refuse_old_name(str(name), config[name])


def check_value(key: str, value: Any, kind: Any) -> None:
    """Raise a UserError unless `value` is of `kind`, a type annotation, and within its limits."""
    value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    group = key.replace(".", "/")
    options = sorted(path.stem for path in Path(CONFIGS, group).glob("*.yaml"))
    if options and not isinstance(value, dict):
        raise BadValue(key, value, f"an option is chosen with a slash, {group}=...; allowed: {' '.join(options)}")
    if not fits(value, kind):
        raise BadValue(key, value, f"must be {allowed(kind)}")


def parameters(target: str, key: str, borrowed: Mapping[str, Kinds]) -> dict[str, Any]:
    """The keys that a target takes, and their types; ANYTHING is among them where they cannot be known."""
    check_target(target, key)
    try:
        function = get_object(target)
    except (ImportError, ValueError) as error:
        cause = error.__cause__
        if cause is not None and not (isinstance(cause, ModuleNotFoundError) and target.startswith(str(cause.name))):
            raise cause from None  # the module is there and has a fault of its own
        raise BadValue(f"{key}._target_", target, "no such class or function") from error
    others = next((kinds for start, kinds in borrowed.items() if target.startswith(start)), {})
    kinds: dict[str, Any] = {}
    for layer in _constructors(function):
        taken = list(inspect.signature(layer).parameters.values())
        hints = _hints(layer) | others
        kinds = {one.name: hints.get(one.name, Any) for one in taken if one.kind not in STARRED} | kinds
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
            return kinds
    return kinds | {ANYTHING: Any}


def _required(target: str) -> Iterator[str]:
    """The parameters of a target that have no default."""
    for layer in _constructors(get_object(target)):
        taken = list(inspect.signature(layer).parameters.values())
        yield from (one.name for one in taken if one.default is one.empty and one.kind not in STARRED)
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
            return


def _check_node(node: DictConfig, key: str, rules: Rules) -> None:
    """Check a node's values against what its target takes, and the nodes below it."""
    kinds = parameters(node._target_, key, rules.borrowed) if "_target_" in node else {}
    kinds = rules.narrowed[key](node, kinds) if key in rules.narrowed else kinds
    written = OmegaConf.to_container(node, resolve=False)
    for name in (name for name in node if not str(name).startswith("_")):
        source = re.fullmatch(r"\$\{([\w.]+)\}", str(written[name]))  # the key whose value is taken over
        place, value = source[1] if source else f"{key}.{name}", node[name]
        if name not in kinds and not isinstance(value, DictConfig):  # a node is a callback or the like, named freely
            refuse_old_name(f"{key}.{name}", value)
        if kinds and name not in kinds and ANYTHING not in kinds:
            allowed = f"{node._target_} takes no such key{nearest(str(name), kinds)}; it takes: {' '.join(kinds)}"
            raise BadValue(place, value, allowed, _written_by_experiment(place))
        built = isinstance(value, DictConfig) and ("_target_" in value or not kinds or _holds_nodes(value))
        if built and not _plain(kinds.get(name, Any)):
            if not source:  # else it is checked where it is written
                _check_node(value, place, rules)
        else:
            check_value(place, value, kinds.get(name, Any))
    ours = str(node.get("_target_", "")).startswith("frontpage.") and not node.get("_partial_")
    for name in _required(node._target_) if ours and key not in rules.narrowed else ():
        if name not in node and name not in LATE:
            raise UserError(f"{key}.{name}: {node._target_} needs it, and it was taken away (by ~); leave that out")


def _written_by_experiment(key: str) -> str:
    """Which file of the chosen experiment wrote a key that the chosen options lack, and how to leave it out."""
    if not HydraConfig.initialized():
        return ""
    runtime = HydraConfig.get().runtime
    for source in runtime.config_sources:
        path = Path(source.path, "experiment", f"{runtime.choices.get('experiment')}.yaml")
        if source.schema == "file" and path.is_file() and OmegaConf.select(OmegaConf.load(path), key) is not None:
            return f"{path} sets it; leave it out with ~{key}"
    return ""


def _constructors(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function itself, or a class's constructor and those that its `**arguments` go to, in turn."""
    if not isinstance(function, type):
        yield function
        return
    before = True
    for base in (base for base in function.__mro__ if "__init__" in vars(base)):
        ours = base.__module__.startswith("frontpage.")
        if before or ours:  # of another library the first alone: its further ones are its own affair
            yield functools.partial(base.__init__, None)  # without self
        before = ours
    if hasattr(function, "architecture"):  # see LanguageModule
        yield from _constructors(function.architecture)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(getattr(function, "func", function), include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value may stand where `kind` is annotated; a kind that is no class takes anything."""
    if typing.get_origin(kind) is Annotated:
        return fits(value, kind.__origin__) and (value is None or all(one.holds(value) for one in _own_limits(kind)))
    members = _members(kind)
    return any(fits(value, one) for one in members) if members else _fits_one(value, kind)


def allowed(kind: Any) -> str:
    """A type and its limits in words: `a whole number, at least 1, or null`."""
    limits = limits_of(kind)
    words = dict.fromkeys(word for one in bare_types(kind) if (word := _word(one)))
    optional = words.pop("null", 0) is None
    words = words or ["a node with a _target_"]
    said = [] if limits and limits[0].words.startswith("one of") else [" or ".join(words)]
    return ", ".join([*said, *(limit.words for limit in limits)]) + (", or null" if optional else "")


def limits_of(kind: Any) -> list[Limit]:
    """The limits in an annotation: of the members of a union, then its own."""
    if typing.get_origin(kind) is Annotated:
        return [*limits_of(kind.__origin__), *_own_limits(kind)]
    return [limit for one in _members(kind) for limit in limits_of(one)]


def bare_types(kind: Any) -> list[Any]:
    """The members of a union, or the type itself, without limits."""
    if typing.get_origin(kind) is Annotated:
        return bare_types(kind.__origin__)
    return [bare for one in _members(kind) for bare in bare_types(one)] or [kind]


def _own_limits(kind: Any) -> list[Limit]:
    """Those that are written into an Annotated; what others write there says nothing to us."""
    return [one for one in kind.__metadata__ if isinstance(one, Limit)]


def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a union is made of; nothing for what is no union."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else ()


def _holds_nodes(value: DictConfig) -> bool:
    """Whether it maps names to nodes that are built, such as the additions to a net."""
    return any(isinstance(one, DictConfig) and "_target_" in one for one in value.values())


def _plain(kind: Any) -> bool:
    """Whether `kind` is made of texts, numbers and truth values alone, so that nothing built can stand there."""
    return all(one in WORDS or typing.get_origin(one) is typing.Literal for one in bare_types(kind))


def _fits_one(value: Any, part: Any) -> bool:
    origin, arguments = typing.get_origin(part) or part, typing.get_args(part)
    if origin is typing.Literal:
        return value in arguments
    if origin is Any or not isinstance(origin, type):
        return True
    if isinstance(value, bool) or origin is bool:
        return isinstance(value, bool) and origin is bool
    if origin is float:
        return isinstance(value, int | float)
    if isinstance(value, str):
        return origin is str or issubclass(origin, os.PathLike)
    if isinstance(value, list) and origin is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, list):
        return issubclass(list, origin) and all(fits(one, arguments[0]) for one in value if arguments)
    return isinstance(value, origin)


def _word(part: Any) -> str:
    """How a message calls a type; nothing for one that no config can hold."""
    origin, arguments = typing.get_origin(part) or part, typing.get_args(part)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if not isinstance(origin, type):
        return ""
    if issubclass(origin, os.PathLike):
        return WORDS[str]
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}"
    return WORDS.get(origin, "a list" if origin in (list, tuple, Sequence) else "")
