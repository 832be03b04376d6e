"""How much the measured prior depends on how it is measured: other titles, other measures, other models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from reclib.analysis.eisam.prior_controls import agreement_table
from reclib.analysis.eisam.prior_popularity import (
    PriorConfig,
    catalogue_texts,
    mean_prior,
    template_priors,
    untuned_lm,
)
from reclib.analysis.eisam.title_measures import MEASURES, title_measures
from reclib.analysis.workbench import DATA_SEED
from reclib.config import LMConfig
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.models.causal_lm import CausalLM
from reclib.schema import ITEM_IDX
from reclib.seeding import numpy_generator
from reclib.text.title_variants import VARIANTS

REFERENCE = "primary"


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """A measure of the prior and what it is compared with.

    prior: the measure; variants: other ways to write the titles; models: other models, such as of another
    family; measure_templates: templates of the secondary measures, which run every token of every title
    """

    prior: PriorConfig
    variants: tuple[str, ...] = tuple(VARIANTS)
    models: tuple[LMConfig, ...] = ()
    measure_templates: tuple[str, ...] = ("bare",)


def sensitivity_step(config: SensitivityConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Every other measure of the same items' prior, and how well each agrees with the primary one.

    Returns "measures" (item_idx, "primary", "titles: …", the five of `title_measures`, "model: …") and
    "agreement" (see `agreement_table`). Goes on from what a kill left in `workdir`, a folder a model.
    """
    measures = _measures(config, workdir)
    found = {name: values for name, values in measures.items() if name != ITEM_IDX}
    agreement = agreement_table(
        found,
        REFERENCE,
        generator=numpy_generator(seed, "prior sensitivity"),
        n_resamples=config.prior.bootstrap,
    )
    return {"measures": pd.DataFrame(measures), "agreement": agreement}


def _measures(config: SensitivityConfig, workdir: Path) -> dict[str, np.ndarray]:
    """The number that each measure gives every item, (N,), and their item_idx."""
    prior, dataset = config.prior, load(config.prior.data, seed=DATA_SEED)
    lm, own = untuned_lm(prior.lm, dataset), workdir / "model-0"
    found = {ITEM_IDX: np.arange(1, dataset.n_items + 1), REFERENCE: _prior(lm, dataset, prior, own)}
    for variant in config.variants:
        if variant != prior.titles:
            found[f"titles: {variant}"] = _prior(lm, dataset, replace(prior, titles=variant), own)
    texts = catalogue_texts(dataset, lm, titles=prior.titles, max_tokens=prior.max_title_tokens)
    secondary = title_measures(lm, texts, dataset.domain, templates=config.measure_templates, workdir=own)
    found |= {name: secondary[name].to_numpy() for name in MEASURES}
    for number, model in enumerate(config.models, start=1):
        other = untuned_lm(model, dataset)
        found[f"model: {model.name}"] = _prior(other, dataset, prior, workdir / f"model-{number}")
    return found


def _prior(lm: CausalLM, dataset: Dataset, config: PriorConfig, workdir: Path) -> np.ndarray:
    """The prior popularity of every item, (N,)."""
    texts = catalogue_texts(dataset, lm, titles=config.titles, max_tokens=config.max_title_tokens)
    log_prior = template_priors(lm, texts, dataset.domain, templates=config.templates, workdir=workdir)
    return mean_prior(log_prior)[1:]
