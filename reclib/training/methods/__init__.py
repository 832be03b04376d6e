"""Methods for sequence recommenders: what each trains a backbone with, under one signature.

method = METHODS["faerec"]
fitted = method.train(setup, method.options(), seed=0, workdir=folder)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclib.config import BackboneConfig, SequenceTrainConfig
from reclib.data.dataset import Dataset
from reclib.models.sequence_model import SequenceModel
from reclib.training.loop import Fitted, Validate, fit
from reclib.training.methods import (
    base,
    cities,
    dllm2rec,
    dros,
    faerec,
    item_tables,
    llm_cf,
    llm_esr,
    llmemb,
    llminit,
    loam,
    melt,
    rlmrec,
    sharpness,
    text_adapters,
    tf_llmer,
)
from reclib.training.sequence_batches import ORDER_VERSION

if TYPE_CHECKING:
    from reclib.text.embeddings import TextEmbeddings
    from reclib.training.reasoned import ReasonedWindows
    from reclib.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class MethodSetup:
    """What every method is given, the same for all in a comparison.

    text: embeddings of the catalogue's texts, None where no method reads them
    validate: of a model, larger is better; it reads the validation part only; None trains all epochs
    teacher: a language model's lists of the training windows, None where no method reads them
    examples: training windows that a language model has reasoned about, None where no method reads them
    """

    dataset: Dataset
    text: TextEmbeddings | None
    backbone: BackboneConfig
    train: SequenceTrainConfig
    validate: Validate | None
    device: str = "cpu"
    teacher: Teacher | None = None
    examples: ReasonedWindows | None = None

    def fit(self, model: SequenceModel, *, seed: int, workdir: Path, **choices: Any) -> Fitted:
        """Train a model on the training part, as every method does; choices: what else `loop.fit` takes."""
        return fit(
            model.to(self.device),
            self.dataset.train,
            self.train,
            validate=self.validate,
            seed=seed,
            workdir=workdir,
            counts=self.dataset.counts,
            **choices,
        )


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method by name.

    train: (setup, options, *, seed, workdir) → Fitted; options: class of its frozen options
    grid: the options that tuning tries, best guess first, as many for each method that has any
    version: raised by hand when the same options begin to give other numbers
    """

    train: Callable[..., Fitted]
    options: Callable[..., Any]
    grid: tuple[Any, ...]
    reads_text: bool = False
    reads_teacher: bool = False
    reads_examples: bool = False
    version: int = 0


def schema_version(method: str, positions: str) -> int:
    """Of a cached step that trains a method: either part is raised only, and so is their sum."""
    return ORDER_VERSION[positions] + METHODS[method].version


METHODS: dict[str, Method] = {
    "base": Method(train=base.train, options=base.BaseOptions, grid=base.GRID),
    "cities": Method(train=cities.train, options=cities.CitiesOptions, grid=cities.GRID),
    "loam": Method(train=loam.train, options=loam.LoamOptions, grid=loam.GRID, version=1),
    "melt": Method(train=melt.train, options=melt.MeltOptions, grid=melt.GRID),
    "rlmrec_con": Method(
        train=rlmrec.train_con, options=rlmrec.RLMRecConOptions, grid=rlmrec.CON_GRID, reads_text=True
    ),
    "rlmrec_gen": Method(
        train=rlmrec.train_gen, options=rlmrec.RLMRecGenOptions, grid=rlmrec.GEN_GRID, reads_text=True
    ),
    "llminit": Method(
        train=llminit.train, options=llminit.LLMInitOptions, grid=llminit.GRID, reads_text=True, version=1
    ),
    "llm_esr": Method(
        train=llm_esr.train, options=llm_esr.LLMESROptions, grid=llm_esr.GRID, reads_text=True, version=1
    ),
    "faerec": Method(train=faerec.train, options=faerec.FAERecOptions, grid=faerec.GRID, reads_text=True),
    "random_init": Method(
        train=item_tables.train_random, options=item_tables.RandomInitOptions, grid=item_tables.RANDOM_GRID
    ),
    "llminit_dimensions": Method(
        train=item_tables.train_dimensions,
        options=item_tables.DimensionsOptions,
        grid=item_tables.DIMENSIONS_GRID,
        reads_text=True,
    ),
    "projected_init": Method(
        train=item_tables.train_projected,
        options=item_tables.ProjectedInitOptions,
        grid=item_tables.PROJECTED_GRID,
        reads_text=True,
    ),
    "frozen_adapter": Method(
        train=text_adapters.train_frozen,
        options=text_adapters.FrozenAdapterOptions,
        grid=text_adapters.FROZEN_GRID,
        reads_text=True,
    ),
    "alpharec": Method(
        train=text_adapters.train_alpharec,
        options=text_adapters.AlphaRecOptions,
        grid=text_adapters.ALPHAREC_GRID,
        reads_text=True,
    ),
    "llmemb": Method(train=llmemb.train, options=llmemb.LLMEmbOptions, grid=llmemb.GRID, reads_text=True),
    "llm_esr_items": Method(
        train=llm_esr.train_items,
        options=llm_esr.LLMESRItemsOptions,
        grid=llm_esr.ITEMS_GRID,
        reads_text=True,
        version=1,
    ),
    "tf_llmer": Method(
        train=tf_llmer.train, options=tf_llmer.TFLLMEROptions, grid=tf_llmer.GRID, reads_text=True
    ),
    "sharpness": Method(train=sharpness.train, options=sharpness.SharpnessOptions, grid=sharpness.GRID),
    "dros": Method(train=dros.train, options=dros.DROSOptions, grid=dros.GRID),
    "dllm2rec": Method(
        train=dllm2rec.train,
        options=dllm2rec.DLLM2RecOptions,
        grid=dllm2rec.GRID,
        reads_teacher=True,
        version=1,
    ),
    "llm_cf": Method(train=llm_cf.train, options=llm_cf.LLMCFOptions, grid=llm_cf.GRID, reads_examples=True),
}
