"""What is compared with TF-LLMER: each arm by its label, and the settings of it that tuning tries.

An arm that ends in "_norm" is the arm before it with item-embedding normalisation. TF-LLMER itself is Rec-PCA
with normalisation, `REC_PCA` is the same without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reclib.config import TFLLMERConfig
from reclib.training.methods import METHODS
from reclib.training.methods.item_norm import ItemNorm

RANDOM, PCA, TF_LLMER, REC_PCA, PLACEBO = "random", "pca", "tf_llmer", "rec_pca", "shuffled_graph"
NORM = "_norm"  # ends the label of an arm with normalisation


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A method of the comparison, by its name in METHODS.

    changes: options that differ from those of its grid; norm: what is changed in its item normalisation
    is_normalised: whether it has one
    """

    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    is_normalised: bool = False
    norm: Mapping[str, Any] = field(default_factory=dict)


# Without normalisation: where the published methods stand, as far as their code is known.
_PLAIN = {
    RANDOM: Arm(method="random_init"),
    "llminit": Arm(method="llminit_dimensions"),
    PCA: Arm(method="projected_init"),
    "whitened": Arm(method="projected_init", changes={"start": "whitened"}),
    "frozen_adapter": Arm(method="frozen_adapter"),
    "alpharec": Arm(method="alpharec"),
    "llmemb": Arm(method="llmemb"),
    "llm_esr": Arm(method="llm_esr_items"),
    REC_PCA: Arm(method="tf_llmer"),
}
BASELINES = tuple(label for label in _PLAIN if label != REC_PCA)
WITH_LLM = ("llminit", "llm_esr", "llmemb", "frozen_adapter")  # of statement 1
CURVES = (RANDOM, *WITH_LLM, TF_LLMER)  # of the loss curves
_NORMALISED = {
    TF_LLMER if label == REC_PCA else f"{label}{NORM}": replace(arm, is_normalised=True)
    for label, arm in _PLAIN.items()
}
PAIRS = dict(zip(_NORMALISED, _PLAIN, strict=True))  # with normalisation → without
_ABLATIONS = {
    "norm_lookup": Arm(method="tf_llmer", is_normalised=True, norm={"where": "lookup"}),
    "norm_scoring": Arm(method="tf_llmer", is_normalised=True, norm={"where": "scoring"}),
    "norm_layer": Arm(method="tf_llmer", is_normalised=True, norm={"norm": "layer"}),
    "frozen": Arm(method="tf_llmer", is_normalised=True, changes={"is_trained": False}),
    PLACEBO: Arm(method="tf_llmer", is_normalised=True, changes={"is_shuffled": True}),
}
ARMS: dict[str, Arm] = _PLAIN | _NORMALISED | _ABLATIONS
MAIN = (*_PLAIN, *_NORMALISED)
ABLATIONS = (TF_LLMER, REC_PCA, f"{PCA}{NORM}", PCA, f"whitened{NORM}", *_ABLATIONS)


def settings(label: str, config: TFLLMERConfig) -> tuple[Any, ...]:
    """The options of an arm that are tried beside the learning rates, best guess first.

    As many for each arm, `config.tuning`: λ is varied first where there is one, then the scale where there is
    one, then what is left of the method's own grid.
    """
    arm = ARMS[label]
    grid = [replace(options, **arm.changes) for options in METHODS[arm.method].grid]
    if arm.method == "tf_llmer":
        grid = [replace(grid[0], weight=weight) for weight in config.weights]
    if arm.is_normalised:
        norms = [ItemNorm(scale=scale, **arm.norm) for scale in config.scales]
        firsts = grid if arm.method == "tf_llmer" else grid[:1]
        varied = [replace(options, norm=norm) for norm in norms for options in firsts]
        grid = varied + [replace(options, norm=norms[0]) for options in grid[1:]]
    else:
        grid = [replace(options, norm=None) for options in grid]
    return tuple(dict.fromkeys(grid))[: config.tuning]
