"""The prior long tail: how popular a language model that was never tuned takes each item to be.

The paper's own measure is not known. Ours is the specification's §6.1 [derived by us]: the probability of
each title among the catalogue's titles under short contexts that name the domain and no user. That the prior
has a long tail besides that of the data is the paper's [confirmed: abstract].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from reclib.analysis.eisam.prior_controls import correlation_table, stability_table
from reclib.analysis.workbench import DATA_SEED, usual_device
from reclib.config import DataConfig, LMConfig, Profile
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.data.popularity import is_head, train_counts
from reclib.decoding.catalogue_pass import catalogue_log_probs
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.schema import ITEM_IDX, TITLE, InputError
from reclib.seeding import numpy_generator
from reclib.text.prior_prompts import TEMPLATES, prior_contexts, tokenize_contexts
from reclib.text.title_variants import cut_to_tokens, is_ambiguous, title_variant
from reclib.text.tokenization import tokenize_items
from reclib.text.trie import ItemTrie

SUM_TOLERANCE = 1e-4  # of the probabilities of a whole catalogue
_WHOLE = ("movies", "music")  # domains whose titles are short names, never cut


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """What the prior popularity of a catalogue depends on.

    lm: the model, untuned; its LoRA settings are not read
    titles: how titles are written, a name of `title_variants.VARIANTS`
    templates: of the contexts, names of `prior_prompts.TEMPLATES`; five or more for a result
    max_title_tokens: longer titles of products are cut to so many tokens, unless `titles` is "given"
    bootstrap: resamples of an interval
    """

    data: DataConfig
    lm: LMConfig
    titles: str = "cleaned"
    templates: tuple[str, ...] = tuple(TEMPLATES)
    max_title_tokens: int = 16
    bootstrap: int = 1000


def config(profile: Profile) -> PriorConfig:
    """The profile's data set and model, all templates."""
    return PriorConfig(data=profile.data, lm=profile.lm, bootstrap=profile.evaluation.bootstrap)


def configs(profile: Profile) -> dict[str, PriorConfig]:
    """The same for each data set of the study by its name, the profile's own first."""
    own, study = config(profile), profile.eisam
    others = (study.data, *(replace(study.data, source=source) for source in study.others))
    found = {each.source: replace(own, data=each) for each in others}
    return {own.data.source: own} | {name: each for name, each in found.items() if name != own.data.source}


def prior_step(config: PriorConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Measure the prior of a catalogue, with what it must be judged by.

    Returns "items" (see `item_table`), "templates" (item_idx, template, log_prior), "stability" (agreement of
    each two templates) and "correlation" (of the prior with the data). Goes on from what a kill left in
    `workdir`.
    """
    dataset = load(config.data, seed=DATA_SEED)
    lm = untuned_lm(config.lm, dataset)
    texts = catalogue_texts(dataset, lm, titles=config.titles, max_tokens=config.max_title_tokens)
    log_prior = template_priors(lm, texts, dataset.domain, templates=config.templates, workdir=workdir)
    items = item_table(dataset, texts, mean_prior(log_prior))
    generator, n_resamples = numpy_generator(seed, "prior popularity"), config.bootstrap
    return {
        "items": items,
        "templates": _long(log_prior, config.templates),
        "stability": stability_table(
            log_prior, config.templates, generator=generator, n_resamples=n_resamples
        ),
        "correlation": correlation_table(items, generator=generator, n_resamples=n_resamples),
    }


def untuned_lm(config: LMConfig, dataset: Dataset) -> CausalLM:
    """The model as it was pretrained, on a GPU where there is one."""
    return load_lm(config, seed=DATA_SEED, titles=dataset.titles).to(usual_device())


def catalogue_texts(dataset: Dataset, lm: CausalLM, *, titles: str, max_tokens: int) -> list[str]:
    """The titles of a catalogue as a variant writes them, products' cut to `max_tokens` unless "given"."""
    texts = title_variant(dataset.titles, dataset.domain, titles)
    if titles == "given" or dataset.domain in _WHOLE:
        return texts
    return cut_to_tokens(texts, lm.tokenizer, max_tokens=max_tokens)


def template_priors(
    lm: CausalLM,
    texts: Sequence[str],
    domain: str,
    *,
    templates: Sequence[str] = tuple(TEMPLATES),
    workdir: Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Logarithm of the prior popularity of every item under each of B templates, (B, N+1), −inf at 0.

    q_i = P_valid(title_i | context) / (number of items with that title),   Σ_i q_i = 1

    The division, which makes the probabilities of items sum to one where items share a title, is ours; the
    specification's (8) is otherwise implemented as it stands [derived by us]. `workdir`: see
    `catalogue_log_probs`. Raises InputError where a sum misses one by more than 1e-4, as with weights in half
    precision.
    """
    contexts = tokenize_contexts(prior_contexts(domain, templates), lm.tokenizer)
    trie = ItemTrie.build(tokenize_items(texts, lm.tokenizer), vocabulary_size=lm.vocabulary_size)
    log_prior = catalogue_log_probs(lm, contexts, trie, workdir=workdir, progress=progress)
    n_sharing = np.diff(trie.terminal_start)  # items of each title
    log_prior[:, trie.terminal_item] -= np.log(np.repeat(n_sharing, n_sharing))
    missed = np.abs(np.exp(log_prior).sum(axis=1) - 1)
    if (missed > SUM_TOLERANCE).any():
        worst = int(missed.argmax())
        raise InputError(
            f"template {templates[worst]}: the catalogue's probabilities miss one by {missed[worst]:.1g}; "
            'load the model with dtype="float32"'
        )
    return log_prior


def mean_prior(log_prior: np.ndarray) -> np.ndarray:
    """The prior popularity of every item over templates, (N+1,) summing to one, 0 at 0.

    q_i ∝ exp(mean over templates of log q_i)

    log_prior: (B, N+1). A geometric mean, made to sum to one again, which moves no rank.
    Source: the specification's §6.1 [derived by us].
    """
    mean = log_prior.mean(axis=0)
    weight = np.exp(mean - mean.max())
    return weight / weight.sum()


def item_table(dataset: Dataset, texts: Sequence[str], prior: np.ndarray) -> pd.DataFrame:
    """One row an item: its popularity in the prior and in the training data, and whether it is head in each.

    texts: (N,) titles as they were measured; prior: (N+1,).
    Returns item_idx, title, text, count (training interactions), data_popularity (their share),
    prior_popularity, data_head, prior_head, is_ambiguous (a title of one content word or none).
    Raises InputError for a prior of another catalogue.
    """
    if len(texts) != dataset.n_items or len(prior) != dataset.n_items + 1:
        raise InputError(
            f"{len(texts)} texts and a prior of {len(prior) - 1} items for a catalogue of {dataset.n_items}"
        )
    counts = train_counts(dataset)
    return pd.DataFrame(
        {
            ITEM_IDX: np.arange(1, len(counts)),
            TITLE: dataset.titles,
            "text": list(texts),
            "count": counts[1:],
            "data_popularity": counts[1:] / max(1, counts.sum()),
            "prior_popularity": prior[1:],
            "data_head": is_head(counts)[1:],
            "prior_head": is_head(prior)[1:],
            "is_ambiguous": [is_ambiguous(text) for text in texts],
        }
    )


def _long(log_prior: np.ndarray, templates: Sequence[str]) -> pd.DataFrame:
    n_templates, n_items = len(log_prior), log_prior.shape[1] - 1
    return pd.DataFrame(
        {
            ITEM_IDX: np.tile(np.arange(1, n_items + 1), n_templates),
            "template": np.repeat(list(templates), n_items),
            "log_prior": log_prior[:, 1:].ravel(),
        }
    )
