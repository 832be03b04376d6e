"""Settings as text and as a hash, and changes of single settings by their dotted names."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, TypeVar

from reclib.schema import InputError

C = TypeVar("C")


def canonical_json(value: Any) -> str:
    """JSON of a configuration with sorted keys and no blanks; a class's name travels with its fields.

    Equal configurations give equal text on every machine. Raises InputError for a value that is neither a
    dataclass, a mapping, a sequence, text, a finite number, a truth value nor None.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def config_hash(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        values = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {"class": type(value).__name__} | values
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    raise InputError(f"a configuration cannot hold a {type(value).__name__}: {value!r}")


def override(config: C, **changes: Any) -> C:
    """A copy with some fields changed, by dotted name: `override(profile, **{"tune.epochs": 2})`.

    The fields of a group change at once, so that those which must fit each other may come in any order.
    Raises InputError for an unknown name, with those near it, and for a value that the field cannot have.
    """
    known = list(_names(config))
    for name in changes:
        if name not in known:
            last = name.rpartition(".")[2]
            near = [each for each in known if each.rpartition(".")[2] == last]
            near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            near = near or [each for each in known if "." not in each]
            raise InputError(f"no setting {name!r}; near it: {', '.join(near)}")
    return _changed(config, {tuple(name.split(".")): value for name, value in changes.items()})


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    for each in fields(config):
        yield prefix + each.name
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from _names(value, f"{prefix}{each.name}.")


def _changed(config: Any, changes: Mapping[tuple[str, ...], Any]) -> Any:
    values = {}
    for name in dict.fromkeys(keys[0] for keys in changes):
        group = changes.get((name,), getattr(config, name))
        below = {keys[1:]: value for keys, value in changes.items() if keys[0] == name and len(keys) > 1}
        values[name] = _changed(group, below) if below else group
    return dataclasses.replace(config, **values)
