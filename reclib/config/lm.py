"""Settings of a language model as a recommender: adapter, objective, tuning, decoding, evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.schema import settle


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
