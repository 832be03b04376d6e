"""The three profiles: every step's settings under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reclib.config.data import DataConfig, SyntheticConfig
from reclib.config.eisam import DEFAULT_EISAM, PAPER_EISAM, SMOKE_EISAM, EisamConfig
from reclib.config.geometry import PAPER_GEOMETRY, SMOKE_GEOMETRY, GeometryConfig
from reclib.config.hybrid import PAPER_HYBRID, SMOKE_HYBRID, HybridConfig
from reclib.config.lm import DecodingConfig, EvaluationConfig, LMConfig, ObjectiveConfig, TuneConfig
from reclib.config.msl_tables import PAPER_MSL_TABLES, SMOKE_MSL_TABLES, MSLTablesConfig
from reclib.config.sequence import BackboneConfig, SequenceConfig, SequenceTrainConfig, TextConfig
from reclib.config.sharpness_checks import PAPER_CHECKS, SMOKE_CHECKS, SharpnessChecksConfig
from reclib.config.tf_llmer import PAPER_TF_LLMER, SMOKE_TF_LLMER, TFLLMERConfig
from reclib.config.traditional import TraditionalConfig
from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings of every step, under a name that travels with each number.

    data, lm, tune, decoding, evaluation: of a language model as a recommender
    hybrid: of language models that read vectors of a sequence recommender, and of grounding
    sequence: of sequence recommenders; traditional: of those that language models are compared with
    tf_llmer: of the comparison of TF-LLMER
    geometry: of the study of text tables, conditioning and Rec-PCA
    eisam: of sharpness-aware training
    msl_tables: of what the MSL paper's tables and lemmas need beside these
    checks: of sharpness-aware steps on small models
    seeds: of the runs that a result is the mean of
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    lm: LMConfig = field(default_factory=LMConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    traditional: TraditionalConfig = field(default_factory=TraditionalConfig)
    tf_llmer: TFLLMERConfig = field(default_factory=TFLLMERConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    eisam: EisamConfig = DEFAULT_EISAM
    hybrid: HybridConfig = field(default_factory=HybridConfig)
    msl_tables: MSLTablesConfig = field(default_factory=MSLTablesConfig)
    checks: SharpnessChecksConfig = field(default_factory=SharpnessChecksConfig)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        settle(self, "profile")
        if not self.seeds:
            raise InputError("profile.seeds is empty: name at least one seed")


SMOKE = Profile(
    name="smoke",
    data=DataConfig(source="synthetic", history_length=4),
    lm=LMConfig(name="random"),
    tune=TuneConfig(
        n_windows=96, learning_rate=1e-2, micro_batch_size=8, warmup_steps=1, save_every=4, max_tokens=256
    ),
    evaluation=EvaluationConfig(n_windows=32, bootstrap=200),
    sequence=SequenceConfig(
        data=DataConfig(
            source="synthetic",
            split="leave_one_out",
            history_length=12,
            synthetic=SyntheticConfig(shared_prefix=1.0, informative_titles=0.8),
        ),
        text=TextConfig(encoder="random"),
        backbone=BackboneConfig(d_model=16),
        train=SequenceTrainConfig(epochs=3, batch_size=64, learning_rate=1e-2),
        evaluation=EvaluationConfig(cutoffs=(5, 10, 20), bootstrap=200),
        others=(),
        more_backbones=("lrurec", "gmlp"),
        redundancies=(0.001, 0.1),
        alignments=(0.1, 0.5),
        tuning=0,
    ),
    traditional=TraditionalConfig(
        sources=("synthetic",),
        backbone=BackboneConfig(d_model=16, n_layers=1),
        train=SequenceTrainConfig(loss="cross_entropy", positions="last", epochs=3),
        learning_rates=(1e-2,),
    ),
    tf_llmer=SMOKE_TF_LLMER,
    geometry=SMOKE_GEOMETRY,
    eisam=SMOKE_EISAM,
    hybrid=SMOKE_HYBRID,
    msl_tables=SMOKE_MSL_TABLES,
    checks=SMOKE_CHECKS,
)

# Every other setting is a default above, sized so that notebooks 00–15 take under half an hour on two cores.
# A sequence recommender is trained in seconds, so that the cells of 03 and 30–36 take minutes together.
DEFAULT = Profile(
    name="default",
    data=DataConfig(source="ml-100k", history_length=6),
    sequence=SequenceConfig(
        data=DataConfig(
            source="ml-100k",
            split="leave_one_out",
            history_length=20,
            synthetic=SyntheticConfig(
                n_users=1000,
                n_items=800,
                mean_length=10,
                learnability=0.6,
                zipf_exponent=0.8,
                shared_prefix=1.0,
                informative_titles=0.8,
            ),
        ),
        backbone=BackboneConfig(d_model=32),
        train=SequenceTrainConfig(epochs=40, patience=8, learning_rate=1e-2),
    ),
    traditional=TraditionalConfig(
        backbone=BackboneConfig(d_model=32),
        train=SequenceTrainConfig(loss="cross_entropy", positions="last", epochs=6, patience=2),
        learning_rates=(3e-3,),
    ),
)

PAPER = Profile(
    name="paper",
    data=DataConfig(
        source="msl_office",  # [MSL] Table 4; msl_book and msl_toy by override
        history_length=10,  # [MSL] §5.1.1: windows of 11, the last item is the target
        min_interactions=5,  # [MSL] §5.1.1: 5-core
        min_rating=None,  # [MSL] §5.1.1: none is dropped
        split="windows",  # [MSL] §5.1.1: 8:1:1 by time
        empty_title="keep",  # released data
        max_title_characters=None,  # released data
    ),
    lm=LMConfig(
        name="smollm2-135m-instruct",  # ours: [MSL] §5.1.3 has LLaMA3-8B
        lora_rank=8,  # released code
        lora_alpha=16,  # released code
        lora_dropout=0.05,  # released code
        lora_targets=("q_proj", "v_proj"),  # released code
        dtype="float32",  # ours: the released code loads the base in 8 bits
    ),
    tune=TuneConfig(
        n_windows=10_000,  # released code: train_10000
        epochs=10,  # [MSL] §5.1.3
        batch_size=128,  # released code
        micro_batch_size=32,  # ours
        learning_rate=1e-4,  # released code
        warmup_steps=20,  # released code
        weight_decay=0.0,  # released code
        max_tokens=512,  # released code
        save_every=78,  # ours: once an epoch
        trace_every=4,  # ours
        objective=ObjectiveConfig(
            name="lml",  # ours: a notebook names the objective of each run
            temperature=1.0,  # [MSL] Eq. (5); a notebook sets others
            adaptive=False,  # ours: a notebook switches ATS on
            target_probability=0.25,  # [MSL] §5.1.3
            scope="first_decision",  # ours: the released code's first positions, forced ones left out
            temperature_low=1.5,  # released code
            temperature_high=5.0,  # released code
            smoothing=0.05,  # released code
            alpha=False,  # [MSL] §5.3: an ablation
            reduction="unforced",  # released code: forced positions are dropped
        ),
    ),
    decoding=DecodingConfig(
        protocol="exact_top_k",  # ours: the limit of [MSL] §5.1.3's beam search, as Lemma 1 assumes
        scoring="valid",  # [MSL] Lemma 1
        top_k=10,  # [MSL] §5.1.3
        num_beams=10,  # [MSL] §5.1.3
        length_penalty=1.0,  # released code: the default of transformers
        users_per_batch=32,  # ours
    ),
    evaluation=EvaluationConfig(
        cutoffs=(5, 10),  # [MSL] §5.1.3
        n_windows=1_000_000,  # [MSL] §5.1.1: all test windows
        bootstrap=10_000,  # ours
    ),
    sequence=SequenceConfig(
        data=DataConfig(
            source="scientific_2018",  # ours: [FAERec] Table 1 has Beauty, Grocery and Yelp; by override
            history_length=50,  # [FAERec] §5.1.1
            min_interactions=3,  # [FAERec] §5.1.1, of users; here of items too, which drops none
            min_rating=None,  # [FAERec] §5.1.1: none is dropped
            split="leave_one_out",  # [FAERec] §5.1.4
            empty_title="keep",  # ours: an item is known by its other fields
            max_title_characters=None,  # ours
        ),
        text=TextConfig(
            encoder="all-minilm-l6-v2",  # ours: [FAERec] §5.1.5 has text-embedding-ada-002
            max_tokens=256,  # ours: the encoder's limit
        ),
        backbone=BackboneConfig(
            name="sasrec",  # [FAERec] Table 2; a notebook names others
            d_model=128,  # [FAERec] §5.1.5
            n_layers=2,  # ours
            n_heads=2,  # ours
            dropout=0.2,  # ours
        ),
        train=SequenceTrainConfig(
            loss="bce",  # [FAERec] Eq. (13)
            n_negatives=1,  # [FAERec] Eq. (13)
            calibration=0.75,  # ours: gBCE is not of the paper
            positions="all",  # [FAERec] Eq. (13)
            epochs=200,  # ours
            evaluate_every=1,  # ours
            patience=10,  # ours
            batch_size=256,  # [FAERec] §5.1.5
            learning_rate=1e-3,  # [FAERec] §5.1.5
            weight_decay=0.0,  # ours
        ),
        evaluation=EvaluationConfig(
            cutoffs=(5, 10, 20),  # [FAERec] §5.1.4
            n_windows=1_000_000,  # [FAERec] §5.1.4: every user
            bootstrap=10_000,  # ours
        ),
        others=(),  # ours: games_2018, msl_toy, msl_office and ml_1m by override
        backbones=("sasrec", "fmlp", "lrurec"),  # [FAERec] Table 2
        more_backbones=("narm", "lightsans", "gmlp"),  # [FAERec] Table 4
        redundancies=(0.001, 0.005, 0.01, 0.05, 0.1),  # [FAERec] §5.1.5
        alignments=(0.1, 0.2, 0.3, 0.4, 0.5),  # [FAERec] §5.1.5
        tuning=6,  # ours: the same for every method
        ablation_backbones=(),  # [FAERec] Table 3: all
        tuned_on="sasrec",  # ours: a third of the runs
    ),
    traditional=TraditionalConfig(
        sources=("msl_book", "msl_office", "msl_toy"),  # [MSL] Table 5, but Clothing
        backbones=("sasrec", "bert4rec"),  # [MSL] §5.1.2
        backbone=BackboneConfig(
            name="sasrec",  # ours: a cell names its own
            d_model=64,  # ours
            n_layers=2,  # ours
            n_heads=2,  # ours
            dropout=0.2,  # ours: a cell names its own
        ),
        train=SequenceTrainConfig(
            loss="cross_entropy",  # ours: [MSL] does not say
            n_negatives=1,  # ours: not read by cross-entropy
            calibration=0.75,  # ours: not read by cross-entropy
            positions="last",  # [MSL] §5.1.1: the last item of each window is the target
            epochs=200,  # ours
            evaluate_every=1,  # ours
            patience=10,  # ours
            batch_size=256,  # ours
            learning_rate=1e-3,  # ours: a cell names its own
            weight_decay=0.0,  # ours: a cell names its own
        ),
        learning_rates=(3e-3, 1e-3),  # ours
        dropouts=(0.1, 0.2, 0.5),  # ours
        weight_decays=(0.0,),  # ours
    ),
    tf_llmer=PAPER_TF_LLMER,
    geometry=PAPER_GEOMETRY,
    eisam=PAPER_EISAM,
    hybrid=PAPER_HYBRID,
    msl_tables=PAPER_MSL_TABLES,
    checks=PAPER_CHECKS,
    seeds=(0, 1, 2),  # ours
)

PROFILES: Mapping[str, Profile] = {each.name: each for each in (SMOKE, DEFAULT, PAPER)}


def profile(name: str) -> Profile:
    """The profile of a name. Raises InputError where there is none."""
    if name not in PROFILES:
        raise InputError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


def data_configs(profile: Profile) -> list[DataConfig]:
    """Every data set that the notebooks of a profile read, cut as they cut it, the profile's own first."""
    sequence, eisam, stability = profile.sequence, profile.eisam, profile.msl_tables.stability
    groups = (
        (profile.data, (*profile.traditional.sources, stability.source)),
        (sequence.data, (*sequence.others, *profile.tf_llmer.sources)),
        (eisam.data, eisam.others),
        (eisam.small, ()),
    )
    return list(
        dict.fromkeys(
            config
            for first, sources in groups
            for config in (first, *(replace(first, source=source) for source in sources))
        )
    )
