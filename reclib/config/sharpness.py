"""Settings of a sharpness-aware step, and the family of methods that are settings of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class SharpnessConfig:
    """One step of training, from empirical risk minimisation to item-wise sharpness.

    step: what is computed from the loss L and the loss L^f weighed by item frequency
        "erm": ∇L; "reweight": ∇L^f
        "eisam": ∇L − λ∇L^f + λ∇L^f(θ+ε), equation (3) of the specification
        "eisam2": ∇(L + λL^f)(θ+ε) − λ∇L^f, equation (4), at the cost of SAM
        "hinge": P3, an item whose loss does not rise at θ+ε is not penalised; ε of the unweighted loss
        "buckets": equation (3) with an ascent of its own for each of `n_buckets` groups of items (P6)
        "exact": equation (1), an ascent of its own for each item of the batch
    radius: ρ; penalty: λ; erm_steps: first steps of plain ERM, while LoRA leaves its start
    weight: f(n), see `kernels.sharpness`; gamma: its exponent γ; beta: of "effective"
    prior_gamma: γ' of "prior"; cap: largest weight; is_normalised: whether training examples weigh one on
        average, which the published forms of ImbSAM and Focal-SAM do not ask
    n_buckets, radius_exponent: groups of equally many items by popularity, and κ of their radii ρ_g ∝ n_g^−κ
    alignment_every: steps between two measurements of A on 16 examples, 0 for none
    """

    step: Literal["erm", "reweight", "eisam", "eisam2", "hinge", "buckets", "exact"] = "eisam"
    radius: float = 0.05  # [relative: Focal-SAM, tuning of CLIP]
    penalty: float = 0.8  # [relative: Focal-SAM]
    erm_steps: int = 0
    weight: Literal["power", "focal", "focal_max", "effective", "rank", "indicator", "prior"] = "power"
    gamma: float = 0.5  # [derived by us: §4.3]
    beta: float = 0.999
    prior_gamma: float = 0.5
    cap: float = 10.0
    is_normalised: bool = True
    n_buckets: int = 8
    radius_exponent: float = 0.0
    alignment_every: int = 100

    def __post_init__(self) -> None:
        not_negative = ("radius", "penalty", "erm_steps", "gamma", "prior_gamma", "radius_exponent")
        settle(
            self,
            "sharpness",
            positive=("cap", "n_buckets"),
            not_negative=(*not_negative, "alignment_every"),
            share=("beta",),
        )


# Each is the same step under other settings; §3.4 of the specification, property 4.
SHARPNESS_FAMILY: Mapping[str, SharpnessConfig] = MappingProxyType(
    {
        "erm": SharpnessConfig(step="erm"),
        "reweight": SharpnessConfig(step="reweight"),
        "sam": SharpnessConfig(gamma=0.0, penalty=1.0),
        "imbsam": SharpnessConfig(weight="indicator", is_normalised=False, penalty=1.0),
        "focal_sam": SharpnessConfig(weight="focal", is_normalised=False, gamma=3.0),
        # Exponent 1/4 as in CC-SAM; there the weights of a classifier alone are perturbed.
        "cc_sam": SharpnessConfig(step="buckets", gamma=0.0, penalty=1.0, radius_exponent=0.25),
        "eisam": SharpnessConfig(),
        "eisam2": SharpnessConfig(step="eisam2"),
        "hinge": SharpnessConfig(step="hinge"),
        "exact": SharpnessConfig(step="exact"),
    }
)
