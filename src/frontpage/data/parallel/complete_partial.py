"""Folders `complete` and `partial` of JSON files, a translation each, and `metadata.json` with their languages.

A file is a list of {book, chapter, verse, text}, or of {book, chapter, text}, whose units are chapters.
`metadata.json` maps a translation, the name of a file without `.json`, to {"language": ...} or to the language itself.
"""

from collections.abc import Collection as Names
from pathlib import Path

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.parallel.checks import KEY, book_name, json_objects, json_value, shown, whole_number
from frontpage.data.parallel.collection import Collection
from frontpage.data.parallel.text import ParallelText

METADATA = "metadata.json"


def read_complete_partial(root: Path) -> ParallelText:
    """The corpus of the folder; each complete translation must have every unit that any complete one has."""
    complete, partial = (sorted((root / name).glob("*.json")) for name in ("complete", "partial"))
    if not complete:
        raise BadValue(KEY, root, "no complete/*.json in this folder")
    twice = sorted({path.stem for path in complete} & {path.stem for path in partial})
    if twice:
        raise BadValue(KEY, root, f"translation {twice[0]} is both in complete/ and in partial/")
    collection = Collection(root)
    with_verses: dict[bool, str] = {}
    for path in [*complete, *partial]:
        _read(path, root, collection, with_verses)
    whole = set().union(*(collection.places(path.stem) for path in complete))
    for path in complete:
        lacking = len(whole - collection.places(path.stem))
        if lacking:
            what = f"complete/{path.name} lacks {lacking} of the {len(whole)} units that the complete ones have"
            raise BadValue(KEY, root, f"{what}; mend it or move it to partial/")
    languages = _languages(root, [path.stem for path in [*complete, *partial]])
    return collection.finish(str(root), languages)


def _read(path: Path, root: Path, collection: Collection, with_verses: dict[bool, str]) -> None:
    """Add a file; `with_verses` keeps one place where entries have a verse and one where they have none."""
    name = f"{path.parent.name}/{path.name}"
    entries = json_objects(path, root)
    if not entries:
        raise BadValue(KEY, root, f"{name} is an empty list")
    for number, entry in enumerate(entries, start=1):
        where = f"{name}: entry {number}"
        for needed in ("book", "chapter", "text"):
            if needed not in entry:
                raise BadValue(KEY, root, f"{where} has no '{needed}'")
        with_verses.setdefault("verse" in entry, where)
        if len(with_verses) > 1:
            raise BadValue(
                KEY, root, f"{with_verses[True]} has a verse, {with_verses[False]} has none; all or none may"
            )
        book = book_name(entry["book"], f"{where}: its book", root)
        chapter = whole_number(entry["chapter"], f"{where}: its chapter", root)
        verse = whole_number(entry.get("verse", 1), f"{where}: its verse", root)
        collection.add(path.stem, (book, chapter, verse), entry["text"])


def _languages(root: Path, translations: Names[str]) -> dict[str, str]:
    """Language of each translation: its own name, said in a notice, where the metadata does not tell."""
    found: dict[str, str] = {}
    if (root / METADATA).is_file():
        told = json_value(root / METADATA, root)
        if not isinstance(told, dict):
            raise BadValue(KEY, root, f"{METADATA} holds {shown(told)}, not an object of translations")
        for name, value in told.items():
            language = value.get("language") if isinstance(value, dict) else value
            if not isinstance(language, str) or not language.strip():
                raise BadValue(KEY, root, f"{METADATA}: the language of {name} is {shown(language)}, not a word")
            found[name] = language.strip()
        unknown = sorted(set(found) - set(translations))
        if unknown:
            notice(f"{KEY}={root}: {METADATA} tells of translations without a file: {_listed(unknown)}")
    untold = [name for name in translations if name not in found]
    if untold:
        what = f"{METADATA} does not tell the language of {_listed(untold)}; each counts as a language of its own"
        notice(f"{KEY}={root}: {what}")
    return {name: found.get(name, name) for name in translations}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
