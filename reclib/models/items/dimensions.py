"""Some of the dimensions of text embeddings, as they are, to start a table of IDs from: LLMInit's choices.

[LLMInit] = Zhang et al., "LLMInit: A Free Lunch from Large Language Models for Selective Initialization of
Recommendation", arXiv 2503.01814.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from reclib.schema import PAD_IDX, InputError

Choice = Literal["variance", "even", "random"]
POPULAR_SHARE = 0.2  # of the items, by training interactions, whose variance counts; as released


def chosen_dimensions(
    text: np.ndarray, d_model: int, *, choice: Choice, counts: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """d_model of the E columns of text embeddings, in their order, neither centred nor scaled.

    "variance": the most varying ones over the most popular fifth of the items; "even": every ⌊E/d⌋-th;
    "random": drawn without repetition. text: (N+1, E), row 0 padding; counts: (N+1,) training interactions.
    Returns (N+1, d_model) float32. Source: [LLMInit]; the details as in its public code, which draws its
    random dimensions with repetition. Raises InputError for fewer dimensions than asked for.
    """
    width = text.shape[1]
    if d_model > width:
        raise InputError(
            f"text embeddings have {width} dimensions, fewer than the d_model of {d_model}: lower "
            "backbone.d_model or take a wider encoder"
        )
    if choice == "even":
        kept = np.arange(0, width, width // d_model)[:d_model]
    elif choice == "random":
        kept = np.sort(generator.choice(width, d_model, replace=False))
    else:
        order = PAD_IDX + 1 + np.argsort(-counts[PAD_IDX + 1 :], kind="stable")
        popular = text[order[: max(2, int(POPULAR_SHARE * len(order)))]].astype(np.float64)
        kept = np.sort(np.argsort(-popular.var(axis=0), kind="stable")[:d_model])
    return text[:, kept].astype(np.float32)
