"""Texts to vectors: a sentence encoder, or the last hidden states of a causal LM, pooled over a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from reclib import assets
from reclib.config import TextConfig
from reclib.models.pretrained import load_pretrained
from reclib.models.random_lm import random_lm
from reclib.schema import InputError

AT_ONCE = 32  # texts of a forward pass

Pooling = Literal["mean", "last_token"]


class TextEncoder:
    """The last hidden states of a text in one vector; scaled to length 1 where `is_normalised`.

    network: gives `last_hidden_state`; max_tokens: longer texts are cut
    poolings: "mean" over the text's tokens, or the state of its "last_token"; of several, from one pass, the
    vectors stand side by side

    The vector of a text does not depend on the texts it is batched with, but for rounding.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any,
        *,
        max_tokens: int,
        is_normalised: bool,
        device: str,
        poolings: Sequence[Pooling] = ("mean",),
    ) -> None:
        self.network = network.eval().to(device)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.is_normalised = is_normalised
        self.device = device
        self.poolings = tuple(poolings)

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> np.ndarray:
        """(n, E) float32, (n, kE) of k poolings; zeros for a text without any token."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        rows: list[Tensor] = [torch.zeros(0)] * len(texts)
        for start in range(0, len(order), AT_ONCE):
            chosen = order[start : start + AT_ONCE]
            for place, row in zip(chosen, self._embed([texts[i] for i in chosen]), strict=True):
                rows[place] = row
        return torch.stack(rows).numpy() if rows else np.zeros((0, 0), dtype=np.float32)

    def _embed(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts,
            padding=True,
            padding_side="right",  # a causal LM counts positions from the left
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        has_tokens = tokens["attention_mask"].any(dim=1)
        if not has_tokens.any():
            width = cast(Any, self.network).config.get_text_config().hidden_size
            return torch.zeros(len(texts), len(self.poolings) * width)
        pooled = self._pooled({name: part[has_tokens] for name, part in tokens.items()})
        rows = pooled.new_zeros(len(texts), pooled.shape[1])
        rows[has_tokens] = pooled
        return rows

    def _pooled(self, tokens: dict[str, Tensor]) -> Tensor:
        given = {name: part.to(self.device) for name, part in tokens.items()}
        hidden = self.network(**given).last_hidden_state.float()
        pooled = [_POOLED[name](hidden, given["attention_mask"]) for name in self.poolings]
        return torch.cat([normalize(rows, dim=1) if self.is_normalised else rows for rows in pooled], 1).cpu()


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    last = mask.sum(dim=1, keepdim=True) - 1  # padding is on the right
    return hidden.take_along_dim(last[..., None], dim=1)[:, 0]


_POOLED = {"mean": _mean, "last_token": _last_token}


def load_encoder(
    config: TextConfig, *, texts: Sequence[str], device: str, poolings: Sequence[Pooling] = ("mean",)
) -> TextEncoder:
    """The encoder that a setting names: a sentence encoder or causal LM, by asset or folder, or "random".

    A folder with a `modules.json` is a sentence encoder in the form of sentence-transformers: mean pooling,
    scaled to length 1 where it says so. "random": an untrained LM with a vocabulary made from `texts`, for
    trying out. poolings: of a causal LM, see `TextEncoder`. Raises InputError for a name that is none of
    these, and for a sentence encoder with another pooling than the mean, its own or asked for.
    """
    if config.encoder == "random":
        network, tokenizer = random_lm(list(texts), seed=0)
        return _of_lm(network, tokenizer, config, device, poolings)
    folder = _folder(config.encoder)
    if folder is None or not (folder / "modules.json").is_file():
        return _of_lm(*load_pretrained(config.encoder), config, device, poolings)
    if tuple(poolings) != ("mean",):
        raise InputError(f"{config.encoder} is a sentence encoder, trained for the mean: not {poolings}")
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    _check_pooling(folder, modules, kinds)
    return TextEncoder(
        AutoModel.from_pretrained(folder, dtype=torch.float32),
        AutoTokenizer.from_pretrained(folder),
        max_tokens=config.max_tokens,
        is_normalised="Normalize" in kinds,
        device=device,
    )


def _of_lm(
    network: Any, tokenizer: Any, config: TextConfig, device: str, poolings: Sequence[Pooling]
) -> TextEncoder:
    return TextEncoder(
        network.base_model,
        tokenizer,
        max_tokens=config.max_tokens,
        is_normalised=False,
        device=device,
        poolings=poolings,
    )


def _folder(name: str) -> Path | None:
    asset = assets.ASSETS.get(name)
    if asset is None:
        return Path(name)
    return assets.locate(name) if asset.kind == "encoder" else None


def _check_pooling(folder: Path, modules: list[dict[str, str]], kinds: list[str]) -> None:
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise InputError(f"{folder}: a sentence encoder of {', '.join(kinds)}; known is Transformer, Pooling")
    pooling = json.loads((folder / modules[1]["path"] / "config.json").read_text("utf-8"))
    used = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
    if used != ["pooling_mode_mean_tokens"]:
        raise InputError(f"{folder}: pooling by {used}; known is pooling_mode_mean_tokens")
