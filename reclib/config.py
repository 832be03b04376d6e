"""Settings as frozen dataclasses, one for each step, and the three profiles made of them."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, TypeVar

from reclib.schema import InputError, settle

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """A made catalogue and its users.

    n_users, n_items: sizes before the k-core; mean_length: interactions a user, on average
    learnability: 0 draws every item by popularity, 1 makes the next item a function of the last
    zipf_exponent: popularity of the r-th item is proportional to r to the minus this
    shared_prefix: share of items whose title begins like another's
    """

    n_users: int = 200
    n_items: int = 100
    mean_length: int = 12
    learnability: float = 0.8
    zipf_exponent: float = 1.0
    shared_prefix: float = 0.5

    def __post_init__(self) -> None:
        sizes = ("n_users", "n_items", "mean_length")
        shares = ("learnability", "shared_prefix")
        settle(self, "synthetic", positive=sizes, not_negative=("zipf_exponent",), share=shares)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and its preprocessing.

    source: "synthetic", an asset, a folder's name below RECLIB_DATA, or a path
    history_length: S, items before the target that are kept
    min_interactions: k of the k-core, and the least length of a user's sequence
    min_rating: interactions rated lower are dropped; None keeps all
    split: "windows" slides over each user and splits 8:1:1 by the target's time; "leave_one_out" holds out
        each user's last two items
    empty_title: "drop" or "keep" items without a title; ready windows keep them
    max_title_characters: longer titles are cut at a word; None keeps them
    synthetic: what source "synthetic" makes
    """

    source: str = "ml-100k"
    history_length: int = 10
    min_interactions: int = 5
    min_rating: float | None = None
    split: Literal["windows", "leave_one_out"] = "windows"
    empty_title: Literal["drop", "keep"] = "drop"
    max_title_characters: int | None = 300
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        settle(self, "data", positive=("history_length", "min_interactions", "max_title_characters"))


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """A causal LM and its LoRA adapter.

    name: an asset, "random" (two layers, vocabulary from the titles) or a folder in Hugging Face format
    lora_rank, lora_alpha, lora_dropout: r, α and dropout; lora_targets: names of the adapted layers
    dtype: of the frozen weights; the adapter is at least float32
    """

    name: str = "smollm2-135m-instruct"
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"

    def __post_init__(self) -> None:
        settle(self, "lm", positive=("lora_rank", "lora_alpha"), share=("lora_dropout",))


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What fine-tuning minimises.

    name: "lml" (full softmax) or "msl" (softmax over the valid tokens)
    temperature: τ; the first one where `adaptive`
    adaptive: whether ATS moves τ; target_probability: η; scope: the positions its moments come from
    temperature_low, temperature_high: clamp of τ; smoothing: rate of its moving average
    alpha: whether the negatives' part of the denominator is multiplied by |Z| / |Z_valid|
    reduction: what the mean is over: "unforced" or all "tokens", or "samples" of summed positions
    """

    name: Literal["lml", "msl"] = "lml"
    temperature: float = 1.0
    adaptive: bool = False
    target_probability: float = 0.25  # [MSL] §5.1.3
    scope: Literal["first", "first_decision", "all"] = "first_decision"
    temperature_low: float = 1.5  # released code
    temperature_high: float = 5.0  # released code
    smoothing: float = 0.05  # released code
    alpha: bool = False
    reduction: Literal["unforced", "tokens", "samples"] = "unforced"

    def __post_init__(self) -> None:
        positive = ("temperature", "target_probability", "temperature_low", "temperature_high")
        settle(self, "objective", positive=positive, share=("target_probability", "smoothing"))


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Fine-tuning of an LM.

    n_windows: training windows, drawn once; epochs: passes over them
    batch_size: windows an optimisation step; micro_batch_size: of them at once, its divisor
    learning_rate, weight_decay: of AdamW; warmup_steps: of the linear schedule
    max_tokens: of prompt and response; longer histories lose their oldest items
    save_every, trace_every: optimisation steps between checkpoints, and between rows of the trace
    objective: what is minimised
    """

    n_windows: int = 512
    epochs: int = 1
    batch_size: int = 16
    micro_batch_size: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 5
    weight_decay: float = 0.0
    max_tokens: int = 512
    save_every: int = 12
    trace_every: int = 1
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        counts = ("n_windows", "epochs", "batch_size", "micro_batch_size")
        every = ("max_tokens", "save_every", "trace_every")
        not_negative = ("learning_rate", "warmup_steps", "weight_decay")
        settle(self, "tune", positive=counts + every, not_negative=not_negative)


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How a list of items is made.

    protocol: "exact_top_k" (by P_valid, certified) or "constrained_beam"; decoding knows which there are
    scoring: of beams: "valid" tokens only, or the "full" vocabulary as transformers does
    top_k: items in a list; num_beams: width of the beam search; users_per_batch: lists made at once
    length_penalty: exponent of the generated length that "full" scores are divided by
    """

    protocol: str = "exact_top_k"
    scoring: Literal["valid", "full"] = "valid"
    top_k: int = 10
    num_beams: int = 10
    length_penalty: float = 1.0
    users_per_batch: int = 8

    def __post_init__(self) -> None:
        settle(self, "decoding", positive=("top_k", "num_beams", "users_per_batch"))


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured on held-out windows.

    cutoffs: K of HR@K and NDCG@K; n_windows: held-out windows, a fixed sample (all where there are fewer)
    bootstrap: resamples of an interval
    """

    cutoffs: tuple[int, ...] = (5, 10)
    n_windows: int = 256
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        settle(self, "evaluation", positive=("cutoffs", "n_windows", "bootstrap"))


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings of every step, under a name that travels with each number.

    data, lm, tune, decoding, evaluation: one group a step; seeds: of the runs that a result is the mean of
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    lm: LMConfig = field(default_factory=LMConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        settle(self, "profile")
        if not self.seeds:
            raise InputError("profile.seeds is empty: name at least one seed")


SMOKE = Profile(
    name="smoke",
    data=DataConfig(source="synthetic", history_length=4),
    lm=LMConfig(name="random"),
    tune=TuneConfig(
        n_windows=96, learning_rate=1e-2, micro_batch_size=8, warmup_steps=1, save_every=4, max_tokens=256
    ),
    evaluation=EvaluationConfig(n_windows=32, bootstrap=200),
)

# Every other setting is a default above, sized so that notebooks 00–15 take under half an hour on two cores.
DEFAULT = Profile(name="default", data=DataConfig(source="ml-100k", history_length=6))

PAPER = Profile(
    name="paper",
    data=DataConfig(
        source="msl_office",  # [MSL] Table 4; msl_book and msl_toy by override
        history_length=10,  # [MSL] §5.1.1: windows of 11, the last item is the target
        min_interactions=5,  # [MSL] §5.1.1: 5-core
        min_rating=None,  # [MSL] §5.1.1: none is dropped
        split="windows",  # [MSL] §5.1.1: 8:1:1 by time
        empty_title="keep",  # released data
        max_title_characters=None,  # released data
    ),
    lm=LMConfig(
        name="smollm2-135m-instruct",  # ours: [MSL] §5.1.3 has LLaMA3-8B
        lora_rank=8,  # released code
        lora_alpha=16,  # released code
        lora_dropout=0.05,  # released code
        lora_targets=("q_proj", "v_proj"),  # released code
        dtype="float32",  # ours: the released code loads the base in 8 bits
    ),
    tune=TuneConfig(
        n_windows=10_000,  # released code: train_10000
        epochs=10,  # [MSL] §5.1.3
        batch_size=128,  # released code
        micro_batch_size=32,  # ours
        learning_rate=1e-4,  # released code
        warmup_steps=20,  # released code
        weight_decay=0.0,  # released code
        max_tokens=512,  # released code
        save_every=78,  # ours: once an epoch
        trace_every=4,  # ours
        objective=ObjectiveConfig(
            name="lml",  # ours: a notebook names the objective of each run
            temperature=1.0,  # [MSL] Eq. (5); a notebook sets others
            adaptive=False,  # ours: a notebook switches ATS on
            target_probability=0.25,  # [MSL] §5.1.3
            scope="first_decision",  # ours: the released code's first positions, forced ones left out
            temperature_low=1.5,  # released code
            temperature_high=5.0,  # released code
            smoothing=0.05,  # released code
            alpha=False,  # [MSL] §5.3: an ablation
            reduction="unforced",  # released code: forced positions are dropped
        ),
    ),
    decoding=DecodingConfig(
        protocol="exact_top_k",  # ours: the limit of [MSL] §5.1.3's beam search, as Lemma 1 assumes
        scoring="valid",  # [MSL] Lemma 1
        top_k=10,  # [MSL] §5.1.3
        num_beams=10,  # [MSL] §5.1.3
        length_penalty=1.0,  # released code: the default of transformers
        users_per_batch=32,  # ours
    ),
    evaluation=EvaluationConfig(
        cutoffs=(5, 10),  # [MSL] §5.1.3
        n_windows=1_000_000,  # [MSL] §5.1.1: all test windows
        bootstrap=10_000,  # ours
    ),
    seeds=(0, 1, 2),  # ours
)

PROFILES: Mapping[str, Profile] = {each.name: each for each in (SMOKE, DEFAULT, PAPER)}


def profile(name: str) -> Profile:
    """The profile of a name. Raises InputError where there is none."""
    if name not in PROFILES:
        raise InputError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


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

    Raises InputError for an unknown name, with those near it, and for a value that the field cannot have.
    """
    for name, value in changes.items():
        known = list(_names(config))
        if name not in known:
            last = name.rpartition(".")[2]
            near = [each for each in known if each.rpartition(".")[2] == last]
            near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            near = near or [each for each in known if "." not in each]
            raise InputError(f"no setting {name!r}; near it: {', '.join(near)}")
        config = _replaced(config, name.split("."), value)
    return config


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    for each in fields(config):
        yield prefix + each.name
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from _names(value, f"{prefix}{each.name}.")


def _replaced(config: Any, keys: list[str], value: Any) -> Any:
    if len(keys) > 1:
        value = _replaced(getattr(config, keys[0]), keys[1:], value)
    return dataclasses.replace(config, **{keys[0]: value})
