"""Pretrained LMs: assets, converted once to safetensors, and any folder in Hugging Face format."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from reclib import assets, paths
from reclib.schema import InputError


def load_pretrained(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network in float32 and tokenizer of an asset's name or of a folder in Hugging Face format.

    The generation settings a model brings along (sampling, penalties) are dropped, and a tokenizer
    without a padding token pads with its end token. Raises InputError for a name that is neither, and
    for a tokenizer without an end token.
    """
    folder = _folder(name)
    try:
        with _no_progress_bar():
            network = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="sdpa"
            )
    except ValueError as error:  # of an architecture without exchangeable attention
        raise InputError(f"{folder} cannot be used: {error}") from error
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token_id is None:
        raise InputError(f"{folder}: the tokenizer has no end token; name one in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return network, tokenizer


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Load without transformers' bar over the weights, which takes a second and clutters a notebook."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _folder(name: str) -> Path:
    asset = assets.ASSETS.get(name)
    if asset is not None and asset.kind == "causal_lm":
        return _converted(asset)
    if not (Path(name) / "config.json").is_file():
        known = ", ".join(key for key, value in assets.ASSETS.items() if value.kind == "causal_lm")
        raise InputError(f"no LM named {name!r}: use random, {known}, or a folder with a config.json")
    return Path(name)


def _converted(asset: assets.Asset) -> Path:
    """Safetensors copy of a GGUF asset, made on first use: it reloads in a second and without `gguf`."""
    file, digest = next((file, sha) for file, sha in asset.members.items() if file.endswith(".gguf"))
    folder = paths.assets_dir() / f"{asset.name}-safetensors-{digest[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _convert(assets.locate(asset.name), Path(file).name, folder)
    return folder


def _convert(source: Path, gguf_file: str, folder: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=gguf_file,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    try:
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
