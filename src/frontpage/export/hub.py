"""A repository on the Hugging Face hub for an export: looked at before the work, filled after it."""

import argparse
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from frontpage.command.endings import Failure
from frontpage.command.errors import BadValue, UserError
from frontpage.command.terminal import printable_lines

# A path from the root, of at least two folders: it names a machine or whoever works there.
PLACE = re.compile(r"(?<![\w:/.<~-])/[\w.-]+(?:/[\w.-]+)+")


class HubRepository:
    """`OWNER/NAME` on the hub that HF_ENDPOINT names; private unless `public`.

    The token is HF_TOKEN of the environment (or of `.env`) and no other: not what `hf auth login` has stored. Raises
    UserError for a name that no repository can have.
    """

    def __init__(self, name: str, public: bool = False) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        self.name, self.public, self.there = name, public, frozenset[str]()
        try:
            validate_repo_id(name)
            fits = name.count("/") == 1
        except HFValidationError:
            fits = False
        if not fits:
            allowed = "OWNER/NAME, of letters, digits, - _ and . (no -- or .., none at an end), 96 at most"
            raise BadValue("--push", name, allowed)
        self._token = os.environ.get("HF_TOKEN", "").strip()
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=self._token or False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._api.endpoint}/{self.name}"

    @property
    def visibility(self) -> str:
        """For whom it is, in a word."""
        return "public" if self.public else "private"

    @property
    def has_token(self) -> bool:
        """Whether the environment has a token."""
        return bool(self._token)

    def look(self) -> None:
        """Ask the hub who the token is and what lies there; UserError where the push could not go through.

        An existing repository keeps its visibility, so that another one than was asked for is refused.
        """
        from huggingface_hub import constants
        from huggingface_hub.errors import RepositoryNotFoundError

        if constants.HF_HUB_OFFLINE:
            raise UserError("HF_HUB_OFFLINE=1: a push needs the hub; --dry-run shows without it what would go")
        if not self.has_token:
            raise UserError(
                "HF_TOKEN: not set, in the environment or in .env; a token of https://huggingface.co/settings/tokens"
                " that may write"
            )
        self._asked(self._api.whoami)
        try:
            found = self._asked(lambda: self._api.model_info(self.name))
        except RepositoryNotFoundError:
            return
        self.there = frozenset(file.rfilename for file in found.siblings or ())
        if found.private is self.public:
            says = "private" if found.private else "public"
            allowed = f"{self.url} is {says} already; its settings there change that, or "
            raise BadValue("--push", self.name, allowed + ("leave out --public" if self.public else "give --public"))

    def push(self, folder: Path, message: str) -> str:
        """Upload all files of `folder`, make the repository where there is none; the commit's address.

        Other files that lie there stay. Raises Failure where the hub does not take it; the folder is whole then.
        """
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # they go to stderr, which is for mistakes
        kept = f"the export is kept in {folder}; `hf upload {self.name} {folder} .` sends it later"
        self._asked(lambda: self._api.create_repo(self.name, private=not self.public, exist_ok=True), kept)
        sent = {"folder_path": folder, "commit_message": message}
        return self._asked(lambda: self._api.upload_folder(repo_id=self.name, **sent), kept).commit_url

    def _asked(self, ask: Callable[[], Any], kept: str = "") -> Any:
        """What the hub answers; its refusals, and the many ways in which a network fails, as errors of ours."""
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        def lines(said: str) -> str:
            return f"{said}\n{kept}" if kept else said

        try:
            return ask()
        except RepositoryNotFoundError:
            raise
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in (401, 403):
                raise Failure(lines(f"{self.url}: the hub answers {status}, {_first_line(error)}")) from error
            may_not = "does not know it" if status == 401 else f"does not let it write to {self.name}"
            raise UserError(lines(f"HF_TOKEN: {self._api.endpoint} {may_not}")) from error
        except Exception as error:  # of the client's own libraries, which change with its versions
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            said = f"{self._api.endpoint}: no answer ({type(cause).__name__}: {_first_line(cause)})"
            raise Failure(lines(said)) from error


def pushed(repository: HubRepository, folder: Path, message: str, dry: bool) -> tuple[list[str], dict[str, Any]]:
    """(what to say of a push, what to keep of it); of a dry one what would go and the card, and nothing goes."""
    said, commit = [], None
    if dry:
        token = f"HF_TOKEN is {'set' if repository.has_token else 'not set'}"
        said.append(f"would be pushed: all of it to {repository.url}, {repository.visibility}; {token}; its card:")
        said.append(printable_lines((folder / "README.md").read_text(encoding="utf-8")))
    else:
        commit = repository.push(folder, message)
        said.append(f"pushed: {commit}, {repository.visibility}")
        left = sorted(repository.there - {path.name for path in folder.iterdir()} - {".gitattributes"})
        said += [f"notice: left as they are there: {' '.join(left)}"] if left else []
    return said, {"repository": repository.url, "visibility": repository.visibility, "commit": commit}


def places_named(folder: Path, names: Iterable[str] = ("README.md", "config.yaml")) -> list[str]:
    """Notices of folders of this machine that texts of an export name: whoever reads the repository will see them."""
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in names if (folder / name).exists()}
    found = {name: sorted({*PLACE.findall(text)}) for name, text in texts.items()}
    return [f"{name} names places of this machine: {' '.join(places[:3])}" for name, places in found.items() if places]


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")


def add_push(parser: argparse.ArgumentParser) -> None:
    """The options of a push and of the model card that goes with it."""
    hub = "upload the folder to the Hugging Face hub; the token is HF_TOKEN, of the environment or of .env"
    parser.add_argument("--push", metavar="OWNER/NAME", help=hub)
    parser.add_argument("--public", action="store_true", help="push to a repository that everybody can read (private)")
    parser.add_argument("--dry-run", action="store_true", help="show what --push would upload; nothing goes or stays")
    licence = "of the weights, in the card: mit, cc-by-4.0 ... (mit for invented titles, else unknown)"
    parser.add_argument("--license", metavar="ID", type=_matching(r"[a-z0-9][a-z0-9.+-]*"), help=licence)
    language = "of the texts, in the card: de, or en,de ... (en for titles)"
    parser.add_argument("--language", metavar="CODES", type=_matching("[a-z]{2,3}(,[a-z]{2,3})*"), help=language)


def repository_of(arguments: argparse.Namespace) -> HubRepository | None:
    """The repository that the options name; UserError where one of them is for a push and there is none."""
    alone = [option for option in ("public", "dry_run") if getattr(arguments, option)]
    if arguments.push is None and alone:
        raise UserError(f"--{alone[0].replace('_', '-')} is for --push OWNER/NAME, which is not given")
    return None if arguments.push is None else HubRepository(arguments.push, arguments.public)


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is no identifier of the hub's: small letters, digits, . + -")
        return text

    return parse
