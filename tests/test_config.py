from __future__ import annotations

import ast
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reclib import config
from reclib.assets import ASSETS
from reclib.config import (
    AlignConfig,
    BackboneConfig,
    DataConfig,
    DecodingConfig,
    EisamConfig,
    EvaluationConfig,
    GeometryConfig,
    GroundingConfig,
    HybridConfig,
    LMConfig,
    MSLTablesConfig,
    ObjectiveConfig,
    Profile,
    ReasoningConfig,
    SequenceConfig,
    SequenceTrainConfig,
    SharpnessChecksConfig,
    StabilityConfig,
    SyntheticConfig,
    TextConfig,
    TFLLMERConfig,
    TraditionalConfig,
    TuneConfig,
    canonical_json,
    config_hash,
    override,
)
from reclib.schema import InputError

GROUPS = [
    SyntheticConfig,
    DataConfig,
    LMConfig,
    ObjectiveConfig,
    TuneConfig,
    DecodingConfig,
    EvaluationConfig,
    BackboneConfig,
    SequenceTrainConfig,
    TextConfig,
    SequenceConfig,
    TraditionalConfig,
    TFLLMERConfig,
    GeometryConfig,
    EisamConfig,
    AlignConfig,
    GroundingConfig,
    HybridConfig,
    ReasoningConfig,
    StabilityConfig,
    MSLTablesConfig,
    SharpnessChecksConfig,
    Profile,
]
SOURCES = [path.read_text("utf-8") for path in sorted(Path(config.__file__).parent.glob("*.py"))]


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings."""
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, value


def another(name: str, value: Any) -> Any:
    """A value that the setting may have and does not have now."""
    choices = {
        "msl_tables.methods": ("lml",),
        "msl_tables.hybrids": ("llara_lml",),
        "eisam.others": ("msl_toy",),
        "eisam.data.split": "leave_one_out",
        "eisam.data.empty_title": "keep",
        "eisam.data.min_rating": 3.0,
        "eisam.train.loss": "gbce",
        "eisam.train.positions": "all",
        "eisam.small.split": "leave_one_out",
        "eisam.small.empty_title": "keep",
        "eisam.small.min_rating": 3.0,
        "eisam.small_train.loss": "gbce",
        "eisam.small_train.positions": "all",
        "data.split": "leave_one_out",
        "data.empty_title": "keep",
        "data.min_rating": 3.0,
        "lm.dtype": "bfloat16",
        "tune.objective.name": "msl",
        "tune.objective.scope": "all",
        "tune.objective.reduction": "tokens",
        "decoding.scoring": "full",
        "sequence.data.split": "windows",
        "sequence.data.empty_title": "keep",
        "sequence.data.min_rating": 3.0,
        "sequence.tuned_on": "sasrec",
        "sequence.ablation_backbones": ("sasrec",),
        "sequence.train.loss": "gbce",
        "sequence.train.positions": "last",
        "traditional.train.loss": "gbce",
        "traditional.train.positions": "all",
        "tf_llmer.pooling": "last_token",
        "tf_llmer.train.loss": "gbce",
        "tf_llmer.train.positions": "last",
        "geometry.wording": "titles" if value == "attributes" else "attributes",
        "geometry.weights": (0.0, 0.7),
        "geometry.train.loss": "gbce",
        "geometry.train.positions": "last",
        "hybrid.curriculum": "text",
        "hybrid.grounding.pooling": "mean",
    }
    if name in choices:
        return choices[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str | tuple):
        return value + value
    return value + 1 if isinstance(value, int) else value / 2 + 0.2


# Profiles


@pytest.mark.parametrize("name", ["smoke", "default", "paper"])
def test_a_profile_is_found_by_its_name(name: str) -> None:
    assert config.profile(name).name == name


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(InputError, match="no profile 'fast'; there are smoke, default, paper"):
        config.profile("fast")


def test_smoke_needs_nothing_from_outside() -> None:
    smoke = config.profile("smoke")
    assert (smoke.data.source, smoke.lm.name) == ("synthetic", "random")
    assert (smoke.data.synthetic.n_users, smoke.data.synthetic.n_items) == (200, 100)
    assert len(smoke.seeds) == 1


def test_default_trains_a_pretrained_lm_on_real_data_in_whole_steps() -> None:
    default = config.profile("default")
    assert default.data.source in ASSETS
    assert default.lm.name in ASSETS
    assert default.tune.n_windows % default.tune.batch_size == 0


@pytest.mark.parametrize("name", ["smoke", "default", "paper"])
def test_a_batch_is_whole_micro_batches(name: str) -> None:
    tune = config.profile(name).tune
    assert tune.batch_size % tune.micro_batch_size == 0


def paper_settings() -> Iterator[tuple[ast.Call, ast.keyword, str]]:
    """The keyword arguments that make profile paper, each with the call it stands in and its line.

    A group with a file of its own has its part there, as PAPER_….
    """
    for source in SOURCES:
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and re.match(r"PAPER(_|$)", ast.unparse(node.targets[0])):
                calls = [each for each in ast.walk(node.value) if isinstance(each, ast.Call)]
                yield from ((call, each, lines[each.lineno - 1]) for call in calls for each in call.keywords)


def test_every_value_of_profile_paper_names_its_source() -> None:
    stated = [line for _, each, line in paper_settings() if isinstance(each.value, (ast.Constant, ast.Tuple))]
    assert len(stated) > 150
    known = r"# (\[(MSL|FAERec)\]|released|ours|third parties|the authors|the baselines' code)"
    for line in stated:
        assert line.strip() == 'name="paper",' or re.search(known, line), line


def test_profile_paper_leaves_no_setting_to_a_default() -> None:
    stated: dict[ast.Call, set[str | None]] = {}
    for call, keyword, _ in paper_settings():
        stated.setdefault(call, set()).add(keyword.arg)
    groups = {group.__name__: group for group in GROUPS if group is not SyntheticConfig}
    calls = [call for call in stated if ast.unparse(call.func) != "SyntheticConfig"]
    assert {ast.unparse(call.func) for call in calls} == set(groups)
    for call in calls:
        names = {each.name for each in dataclasses.fields(groups[ast.unparse(call.func)])}
        assert stated[call] - {"synthetic"} == names - {"synthetic"}, ast.unparse(call)


# Groups of settings


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_is_documented(group: type) -> None:
    for each in dataclasses.fields(group):  # type: ignore[arg-type]
        if (group, each.name) != (Profile, "name"):
            assert re.search(rf"\b{each.name}\b", group.__doc__ or ""), each.name


@pytest.mark.parametrize("group", GROUPS[:-1], ids=lambda group: group.__name__)
def test_settings_are_given_by_name_and_never_change(group: type) -> None:
    with pytest.raises(TypeError, match="positional"):
        group("a value")
    settings = group()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, dataclasses.fields(settings)[0].name, 1)


@pytest.mark.parametrize(
    ("group", "fields", "message"),
    [
        (ObjectiveConfig, {"name": "dpo"}, "objective.name is 'dpo': choose one of lml, msl"),
        (ObjectiveConfig, {"temperature": 0}, r"objective.temperature is 0.0: it must be above 0"),
        (ObjectiveConfig, {"target_probability": 1.5}, "must be between 0 and 1"),
        (ObjectiveConfig, {"adaptive": "yes"}, "objective.adaptive is 'yes': it must be True or False"),
        (DecodingConfig, {"top_k": 0}, "decoding.top_k is 0: it must be above 0"),
        (DecodingConfig, {"top_k": 2.5}, "decoding.top_k is 2.5: it must be a whole number"),
        (DecodingConfig, {"top_k": True}, "decoding.top_k is True: it must be a whole number"),
        (EvaluationConfig, {"cutoffs": (5, 0)}, r"evaluation.cutoffs is \(5, 0\): it must be above 0"),
        (EvaluationConfig, {"cutoffs": 5}, "evaluation.cutoffs is 5: it must be a list"),
        (TuneConfig, {"learning_rate": float("nan")}, "tune.learning_rate is nan: .* a finite number"),
        (TuneConfig, {"learning_rate": "1e-3"}, "tune.learning_rate is '1e-3': .* a finite number"),
        (TuneConfig, {"warmup_steps": -1}, "tune.warmup_steps is -1: it must be at least 0"),
        (TuneConfig, {"objective": "msl"}, "tune.objective is 'msl': it must be of type ObjectiveConfig"),
        (DataConfig, {"history_length": 0}, "data.history_length is 0"),
        (DataConfig, {"min_rating": "four"}, "data.min_rating is 'four'"),
        (DataConfig, {"source": None}, "data.source is None: it must be text"),
        (SyntheticConfig, {"learnability": 2}, "synthetic.learnability is 2.0: .* between 0 and 1"),
        (LMConfig, {"dtype": "int8"}, "lm.dtype is 'int8': choose one of float32, bfloat16, float64"),
        (LMConfig, {"lora_targets": ("q_proj", 1)}, "lm.lora_targets is 1: it must be text"),
    ],
)
def test_a_value_a_setting_cannot_have_is_refused(group: type, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group(**fields)


def test_a_profile_has_a_seed() -> None:
    with pytest.raises(InputError, match=r"profile\.seeds is empty"):
        Profile(name="mine", seeds=())


def test_a_setting_that_may_be_none_may_be_none() -> None:
    assert DataConfig(min_rating=None, max_title_characters=None).min_rating is None


# Hashes


def test_the_hash_of_a_configuration_is_the_same_in_every_version() -> None:
    value = {"b": 1.5, "a": [1, None, True, "é"], "c": 1e-4}
    assert canonical_json(value) == '{"a":[1,null,true,"\\u00e9"],"b":1.5,"c":0.0001}'
    assert config_hash({"a": [1]}) == "ff5464c34287e9ec"  # of SHA-256 of {"a":[1]}
    assert config_hash(value) == config_hash(dict(reversed(value.items())))


def test_equal_settings_have_equal_hashes_however_they_are_written() -> None:
    written = EvaluationConfig(cutoffs=[np.int64(5), 10])  # type: ignore[arg-type]
    assert config_hash(written) == config_hash(EvaluationConfig(cutoffs=(5, 10)))
    assert written == EvaluationConfig(cutoffs=(5, 10))
    assert config_hash(TuneConfig(learning_rate=1)) == config_hash(TuneConfig(learning_rate=np.float64(1.0)))


@pytest.mark.parametrize("name", [name for name, _ in leaves(config.DEFAULT)])
def test_every_setting_changes_the_hash(name: str) -> None:
    changed = override(config.DEFAULT, **{name: another(name, dict(leaves(config.DEFAULT))[name])})
    assert config_hash(changed) != config_hash(config.DEFAULT)


def test_groups_with_the_same_fields_have_different_hashes() -> None:
    @dataclasses.dataclass
    class Other:
        k: int = 1

    @dataclasses.dataclass
    class Another:
        k: int = 1

    assert config_hash(Other()) != config_hash(Another()) != config_hash({"k": 1})


@pytest.mark.parametrize("name", ["smoke", "default", "paper"])
def test_canonical_json_is_json_that_holds_every_setting(name: str) -> None:
    settings = config.profile(name)
    read = json.loads(canonical_json(settings))
    for dotted, value in leaves(settings):
        found = read
        for key in dotted.split("."):
            found = found[key]
        assert (tuple(found) if isinstance(found, list) else found) == value


@pytest.mark.parametrize(
    "value", [{1, 2}, float("nan"), float("inf"), Path("a"), np.zeros(2), b"a", TuneConfig]
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="a configuration cannot hold a"):
        config_hash({"x": [value]})


# Overrides


def test_an_override_changes_one_setting_and_leaves_the_original() -> None:
    changed = override(config.PAPER, **{"tune.objective.name": "msl", "evaluation.cutoffs": [1, 20]})
    assert changed.tune.objective.name == "msl"
    assert changed.evaluation.cutoffs == (1, 20)
    assert config.PAPER.tune.objective.name == "lml"
    same = override(changed, **{"tune.objective.name": "lml", "evaluation.cutoffs": (5, 10)})
    assert same == config.PAPER


def test_an_override_may_replace_a_group() -> None:
    data = DataConfig(source="synthetic")
    assert override(config.PAPER, data=data).data is data


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tune.learning_rat", "tune.learning_rate"),
        ("tune.leraning_rate", "tune.learning_rate"),
        ("learning_rate", "tune.learning_rate"),
        ("tune.temperature", "tune.objective.temperature"),
        ("decodng.top_k", "decoding.top_k"),
        ("tune.epochs.number", "tune.epochs"),
        (
            "qqqq",
            "name, data, lm, tune, decoding, evaluation, sequence, traditional, tf_llmer, geometry, eisam",
        ),
    ],
)
def test_an_unknown_override_names_those_near_it(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"no setting '{re.escape(name)}'; near it: .*{re.escape(near)}"):
        override(config.PAPER, **{name: 1})


def test_a_spread_needs_two_seeds_and_a_curve_over_temperatures_one() -> None:
    with pytest.raises(InputError, match=r"msl_tables.stability.seeds is \(0,\): a spread needs two or more"):
        override(config.PAPER, **{"msl_tables.stability.seeds": (0,)})
    changed = override(config.PAPER, **{"msl_tables.temperature.seeds": (0,)})
    assert changed.msl_tables.temperature.seeds == (0,)
    with pytest.raises(InputError, match="seeds is empty: name at least one"):
        override(config.PAPER, **{"msl_tables.temperature.seeds": ()})


def test_settings_that_must_fit_each_other_may_come_in_any_order() -> None:
    names = {"msl_tables.cost_windows": 16, "msl_tables.cost_batch": 4}  # 16 are too few for the 128 before
    for order in (names, dict(reversed(names.items()))):
        changed = override(config.PAPER, **order).msl_tables
        assert (changed.cost_windows, changed.cost_batch) == (16, 4)
    whole = dataclasses.replace(config.PAPER.tune, epochs=3)
    changed = override(config.PAPER, **{"tune.objective.name": "msl", "tune": whole})
    assert (changed.tune.epochs, changed.tune.objective.name) == (3, "msl")
    assert changed.tune.objective.scope == whole.objective.scope


def test_an_override_is_checked_like_any_setting() -> None:
    with pytest.raises(InputError, match="tune.epochs is '2': it must be a whole number"):
        override(config.PAPER, **{"tune.epochs": "2"})


# Importing


def test_importing_the_package_and_its_settings_loads_no_library() -> None:
    code = (
        "import sys, reclib; print(len([m for m in sys.modules if m.startswith('reclib')]));"
        "import reclib.config, reclib.paths, reclib.schema, reclib.artifacts, reclib.assets;"
        "print(*{'numpy', 'pandas', 'torch', 'transformers'} & set(sys.modules))"
    )
    root = Path(config.__file__).parent.parent
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout == "1\n\n"


def test_preference_defaults_are_those_of_the_released_script() -> None:
    preference = config.PreferenceConfig()
    assert (preference.beta, preference.n_negatives) == (1.0, 3)
    with pytest.raises(InputError, match="preference.beta"):
        config.PreferenceConfig(beta=0.0)
    with pytest.raises(InputError, match="user, window"):
        config.PreferenceConfig(unseen_by="target")  # type: ignore[arg-type]
