"""Which exceptions are a user's mistake, and the lines that say so."""

import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import hydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import UserError, is_text, nearest
from frontpage.command.extras import installing
from frontpage.command.long_names import explain_long_name, is_too_long
from frontpage.command.old_names import in_our_words, where_it_stands

MOST_LINES, LONGEST_LIST = 3, 40
EXTRAS = {  # options of Hydra's plugins, which are installed on demand
    ("hydra/launcher", "joblib"): ("joblib", "joblib"),
    ("hydra/launcher", "submitit_slurm"): ("slurm", "slurm"),
    ("hydra/launcher", "submitit_local"): ("slurm", "slurm"),
}
HYDRA = str(Path(hydra.__file__).parent)


def check_arguments() -> None:
    """Raise a UserError for an argument that no file of a run could hold: bytes that are not in the console's encoding.

    They would be lost or kill the run where its record is written.
    """
    for given in sys.argv[1:]:
        if not is_text(given):
            encoding = sys.getfilesystemencoding()
            raise UserError(f"{given}: bytes that are not {encoding}; allowed: names and paths that are text")


def with_homes(arguments: list[str]) -> list[str]:
    """Arguments with the home folder for the `~/` that a value begins with, which no shell expands behind `key=`."""

    def expanded(argument: str) -> str:
        found = re.fullmatch(r"""([\w./+-]+=)(["']?)(~[\w.-]*/.*?)\2""", argument)
        if found is None:
            return argument
        path = os.path.expanduser(found[3])
        if path == found[3]:  # nobody's home
            return argument
        unquoted = re.fullmatch(r"[\w./:+%@-]+", path, re.ASCII)  # what Hydra reads without quotes
        plain = argument.startswith("--") or unquoted
        return f"{found[1]}{path}" if plain else shlex.split(_quoted(found[1].rstrip("="), path))[0]

    return [expanded(argument) for argument in arguments]


def explain(error: BaseException) -> str | None:
    """One to three lines for a mistake that the user can mend; None for anything else."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return _shorten(str(cause))
        if is_too_long(cause):
            return explain_long_name(cause)
    wordings: list[tuple[type[BaseException], Callable[..., str | None]]] = [
        (OverrideParseException, _unparsable),
        (MissingConfigException, _no_such_option),
        (ConfigCompositionException, _not_composable),
        (HydraException, _of_hydra),
        (InterpolationResolutionError, _at_its_key),
        (MissingMandatoryValue, _at_its_key),
        (OSError, _no_directory),
        (ValueError, _not_an_option),
        (RuntimeError, _not_configured),
    ]
    for kind, wording in wordings:
        if isinstance(error, kind):
            text = wording(error)
            return None if text is None else _shorten(text)
    return None


def _unparsable(error: OverrideParseException) -> str:
    key, equals, value = error.override.partition("=")
    if not equals:
        return f"{key}: not a setting; allowed: key=value or group=option"
    if not key.strip("+~ "):
        return f"{error.override}: the key is missing; allowed: key=value or group=option"
    if re.match(r"choice\((.*,)?\s*null\s*[,)]", value):
        return f"{error.override}: choice takes no null; write {key}={value[len('choice(') :].removesuffix(')')}"
    if re.match(r"(tag|int|float|str|bool|json_str|interval|choice|range|glob|sort|shuffle)\(", value):
        from frontpage.command.override_words import ALLOWED  # Optuna is only wanted in a search

        return f"{error.override}: not a range of a search; allowed: {ALLOWED}"
    return (
        f"{error.override}: the value cannot be read; allowed without quotes: letters, digits and . / - _ : + % @\n"
        f"quote any other text twice, once for the shell: {_quoted(key, value)}"
    )


def _quoted(key: str, value: str) -> str:
    """A text as the value of a key, quoted for Hydra and then for the shell."""
    return shlex.quote('{}="{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"')))


def _no_such_option(error: MissingConfigException) -> str:
    """`experiment=quikstart` and the like; `missing_cfg_file` is `group/option`."""
    missing = error.missing_cfg_file or ""
    if error.options is None or "/" not in missing:
        return str(error)
    given = next((one for one in sys.argv[1:] if one.lstrip("+").replace("=", "/", 1) == missing), None)
    group, _, option = given.partition("=") if given else missing.rpartition("/")
    hint = ", and data.path=... for a file of titles" if group == "data" else ""
    if (group, option) in EXTRAS:
        launcher, extra = EXTRAS[group, option]
        return f"launcher={launcher}: needs the extra `{extra}`: {installing(extra)}"
    return f"{group}={option}: no such option{nearest(option, error.options)}; allowed: {_listed(error.options)}{hint}"


def _not_composable(error: ConfigCompositionException) -> str:
    text, cause = str(error), error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        return _no_such_key(cause, re.search(r"use \+(.*)", text))
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", text)
    if several:
        key, _, value = several[1].partition("=")
        advice = f"{several[1]}: several values, but this is one run; add --multirun for a run with each of them"
        if "(" in value:
            return advice
        return f"{advice},\nor write one value: {key}=[{value}] is a list, {_quoted(key, value)} a text with a comma"
    there = re.match(r"Could not append to config. An item is already at '(.*)'", text)
    if there:
        given = _argument(f"+{there[1]}")
        return f"{given}: the key exists already; write it without the +: {given.removeprefix('+')}"
    if text.startswith("Config group override must be"):
        return _no_option_of_its_group() or text
    if isinstance(cause, OmegaConfBaseException) and str(cause) not in text:
        text += f"\n{cause}"
    return text


def _no_such_key(error: ConfigKeyError | ConfigAttributeError, override: re.Match | None) -> str:
    """A key that the config lacks: what an original name is here, the nearest one, or one of that name elsewhere."""
    parent = error.parent_node
    prefix = f"{parent._get_full_key(None)}." if parent._get_full_key(None) else ""
    wrong = f"{prefix}{error.key}"
    given = override[1] if override else wrong
    old = in_our_words(given.partition("=")[0])
    if old:
        return f"{given}: {old}"
    beside = [str(key) for key in parent if prefix or key != "hydra"]
    everywhere = [*_groups(), *_keys(OmegaConf.to_container(parent._get_root(), resolve=False))]
    last = re.split(r"[./]", wrong)[-1]
    elsewhere = [key for key in everywhere if re.split(r"[./]", key)[-1] == last]
    guess = (
        (f" (did you mean '{elsewhere[0]}'?)" if elsewhere else "")
        or where_it_stands(wrong)
        or nearest(str(error.key), [*beside, *([] if prefix else _groups())], prefix)
        or nearest(wrong, everywhere)
    )
    there = f"{prefix.rstrip('.')} has" if prefix else "there are"
    return f"{given}: no such key{guess}; {there}: {_listed(beside) or 'none'}"


def _at_its_key(error: OmegaConfBaseException) -> str:
    text = str(error).splitlines()[0]
    return f"{error.full_key}={_argument(error.full_key).partition('=')[2]}: {text}" if error.full_key else text


def _no_directory(error: OSError) -> str | None:
    """What kept Hydra from making the run's directory, or a user from a file; None for any other OSError."""
    if _raised_in(error) != f"{HYDRA}/core/utils.py":
        refused = isinstance(error, PermissionError) and error.filename is not None
        return f"{error.filename}: this user may not open it ({error.strerror})" if refused else None
    path = _argument("hydra.run.dir").partition("=")[2] or error.filename
    return f"hydra.run.dir={path}: the directory cannot be made ({error.strerror}); name one that can be written"


def _not_an_option(error: Exception) -> str | None:
    """What Hydra finds wrong with a group's value, e.g. `model=null`; None for any other ValueError."""
    if not _raised_in(error).startswith(HYDRA):
        return None
    return _no_option_of_its_group() or str(error)


def _no_option_of_its_group() -> str | None:
    """The argument that gives a group what is no name, in words; None where there is none."""
    for argument in sys.argv[1:]:
        group, _, option = argument.lstrip("+~").partition("=")
        if group in _groups() and (option in ("null", "true", "false") or option.isdigit()):
            options = [path.stem for path in Path(CONFIGS, group).glob("*.yaml")]
            return f"{argument}: not an option of {group}; allowed: {_listed(sorted(options))}, or leave it out"
        if not group:
            return f"{argument}: the key is missing; allowed: key=value or group=option"
    return None


def _of_hydra(error: HydraException) -> str:
    """What Hydra says, or of a group's value, e.g. `logger=false`, what is allowed."""
    return (str(error).startswith("Config group override must be") and _not_an_option(error)) or str(error)


def _not_configured(error: RuntimeError) -> str | None:
    """`hydra.sweeper=null` and `hydra.launcher=null`; None for any other RuntimeError."""
    part = re.fullmatch(r"Hydra (sweeper|launcher) is not configured", str(error))
    return part and f"hydra.{part[1]}=null: a search needs it; leave the setting out"


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception and all that caused it, outermost first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _raised_in(error: BaseException) -> str:
    """The file of the innermost frame outside the standard library."""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((name for name in reversed(frames) if name.startswith("/") and Path(name).name != "pathlib.py"), "")


def _argument(key: str) -> str:
    """The argument of the command line that sets `key`, or the key itself."""
    return next((one for one in reversed(sys.argv[1:]) if one.partition("=")[0] == key), key)


def _groups() -> list[str]:
    """The config groups, e.g. `model/attention`."""
    root = Path(CONFIGS)
    return sorted({str(path.parent.relative_to(root)) for path in root.rglob("*.yaml")} - {"."})


def _keys(node: dict, prefix: str = "") -> Iterator[str]:
    """Every key of a config, dotted."""
    for key, value in node.items():
        if key != "hydra":
            yield prefix + str(key)
            if isinstance(value, dict):
                yield from _keys(value, f"{prefix}{key}.")


def _listed(words: Iterable[object]) -> str:
    words = [str(word) for word in words if not str(word).startswith("_")]
    return " ".join(words[:LONGEST_LIST]) + (" ..." if len(words) > LONGEST_LIST else "")


def _shorten(text: str) -> str:
    """At most three lines: what Hydra adds about search paths, object types and tracebacks is left out."""
    lines = [line.strip() for line in text.splitlines()]
    noise = ("Config search path", "provider=", "object_type=", "full_key:", "reference_type", "Set the environment")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return "\n".join(kept[:MOST_LINES])
