"""Settings as frozen dataclasses, one for each step, and the three profiles made of them."""

from reclib.config.canonical import canonical_json, config_hash, override
from reclib.config.data import DataConfig, SyntheticConfig
from reclib.config.eisam import EisamConfig
from reclib.config.geometry import GeometryConfig
from reclib.config.hybrid import AlignConfig, GroundingConfig, HybridConfig
from reclib.config.lm import DecodingConfig, EvaluationConfig, LMConfig, ObjectiveConfig, TuneConfig
from reclib.config.msl_tables import MSLTablesConfig, StabilityConfig
from reclib.config.preference import PreferenceConfig
from reclib.config.profiles import DEFAULT, PAPER, PROFILES, SMOKE, Profile, data_configs, profile
from reclib.config.reasoning import ReasoningConfig
from reclib.config.sequence import BackboneConfig, SequenceConfig, SequenceTrainConfig, TextConfig
from reclib.config.sharpness import SHARPNESS_FAMILY, SharpnessConfig
from reclib.config.sharpness_checks import SharpnessChecksConfig
from reclib.config.tf_llmer import TFLLMERConfig
from reclib.config.traditional import TraditionalConfig

__all__ = [
    "DEFAULT",
    "PAPER",
    "PROFILES",
    "SHARPNESS_FAMILY",
    "SMOKE",
    "AlignConfig",
    "BackboneConfig",
    "DataConfig",
    "DecodingConfig",
    "EisamConfig",
    "EvaluationConfig",
    "GeometryConfig",
    "GroundingConfig",
    "HybridConfig",
    "LMConfig",
    "MSLTablesConfig",
    "ObjectiveConfig",
    "PreferenceConfig",
    "Profile",
    "ReasoningConfig",
    "SequenceConfig",
    "SequenceTrainConfig",
    "SharpnessChecksConfig",
    "SharpnessConfig",
    "StabilityConfig",
    "SyntheticConfig",
    "TFLLMERConfig",
    "TextConfig",
    "TraditionalConfig",
    "TuneConfig",
    "canonical_json",
    "config_hash",
    "data_configs",
    "override",
    "profile",
]
