"""Encoders of histories: item vectors (B, S, D) and a mask in, states (B, S, D) out; items live elsewhere."""

from __future__ import annotations

from torch import nn

from reclib.config import BackboneConfig
from reclib.models.backbones.bert4rec import BERT4Rec
from reclib.models.backbones.fmlp import FMLPRec
from reclib.models.backbones.gmlp import GMLP
from reclib.models.backbones.gru4rec import GRU4Rec
from reclib.models.backbones.hstu import HSTU
from reclib.models.backbones.lightsans import LightSANs
from reclib.models.backbones.lrurec import LRURec
from reclib.models.backbones.narm import NARM
from reclib.models.backbones.sasrec import SASRec
from reclib.schema import InputError

BACKBONES: dict[str, type[nn.Module]] = {
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "fmlp": FMLPRec,
    "lrurec": LRURec,
    "narm": NARM,
    "lightsans": LightSANs,
    "gmlp": GMLP,
    "hstu": HSTU,
}


def build_backbone(config: BackboneConfig, *, max_length: int) -> nn.Module:
    """The encoder that `config.name` names, for histories of at most `max_length` items.

    Weights are drawn from the global generator. Raises InputError for a name that is not in `BACKBONES`.
    """
    if config.name not in BACKBONES:
        raise InputError(f"backbone {config.name!r} is unknown: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[config.name](
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        dropout=config.dropout,
        max_length=max_length,
    )
