"""Targets from what a user writes: a string with options, JSON, a path to JSON, a dict."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import PREFIX
from tvm_pulp.target.options import check_option, check_together, closest

if TYPE_CHECKING:
    from tvm.target import Target

# What an exported target also holds; the tag sets these.
_IGNORED = ("kind", "keys", "mcpu", PREFIX + "tag")


def parse(target: str | Path | Mapping[str, Any] | Target) -> Target:
    """Make a TVM target of what a user gave.

    Parameters
    ----------
    target
        - `"pulp -l2-bytes=33554432 -cores=4"`: a tag and options;
        - `'{"tag": "pulp", "l2_bytes": 33554432}'`: JSON text, options also as `feature.l2_bytes`;
        - the path of a file of such JSON (a `Path`, or a text that ends in `.json`);
        - the same as a dict;
        - a `Target`, which is returned as it is.

    Raises
    ------
    UserError
        On an unknown tag or option (with the closest known one), a bad value, damaged JSON, a missing file.
    """
    if isinstance(target, Path):
        return _build(_read(target))
    if isinstance(target, str):
        text = target.strip()
        if text.startswith("{"):
            return _build(_decode(text, "the target"))
        if text.endswith(".json"):
            return _build(_read(Path(text)))
        return _build(_split(text))
    if isinstance(target, Mapping):
        return _build(dict(target))
    return target


def _split(text: str) -> dict[str, Any]:
    """Take a tag with options apart."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f'target "{text}": {error}') from error
    if not words or words[0].startswith("-"):
        raise UserError(f'target "{text}" does not start with a tag; write e.g. "pulp -l2-bytes=4M"')
    values: dict[str, Any] = {"tag": words[0]}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not name.startswith("-") or not equals:
            raise UserError(f'target option "{word}" is not of the form -name=value, e.g. -l2-bytes=4M')
        values[name.lstrip("-")] = value
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        return _decode(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the target file {path}: {error}") from error


def _decode(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f'{where} must be a JSON object such as {{"tag": "pulp"}}')
    return content


def _build(values: dict[str, Any]) -> Target:
    from tvm.target import Target

    from tvm_pulp.target.tags import register, tag_features, tag_names

    tag = values.pop("tag", None)
    if tag not in tag_names():
        named = "the target names no tag" if tag is None else f'unknown target "{tag}"'
        hint = "" if tag is None else closest(str(tag), tag_names())
        raise UserError(f"{named}{hint}; known are {', '.join(tag_names())}")
    known = tag_features(tag)
    options = {}
    for name, value in values.items():
        option = name.removeprefix(PREFIX).replace("-", "_")
        if name not in _IGNORED and value != known.get(option):
            options[option] = check_option(option, value)
    check_together({**known, **options})
    register()
    return Target({"tag": tag, **{PREFIX + name: value for name, value in options.items()}})
