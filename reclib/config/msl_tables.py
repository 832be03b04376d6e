"""Settings of the tables of the MSL paper: sizes of what they need beside the tuned runs of a profile."""

from __future__ import annotations

from dataclasses import dataclass, field

from reclib.config.reasoning import PAPER_REASONING, SMOKE_REASONING, ReasoningConfig
from reclib.schema import InputError, settle

TABLE_METHODS = ("lml", "sdpo", "msl", "msl_ats")  # of BIGRec; the others are compared with the first
# Rows of language models that read vectors under each loss, and of BIGRec's answers by grounding.
HYBRID_ROWS = (
    "llara_lml",
    "llara_sdpo",
    "llara_msl_ats",
    "a_llmrec_lml",
    "a_llmrec_sdpo",
    "a_llmrec_msl_ats",
    "grounded",
    "grounded_popularity",
    "grounded_collaborative",
)


@dataclass(frozen=True, kw_only=True)
class StabilityConfig:
    """Runs of each method from several seeds; all else is as the profile has it.

    source, lm: data set and language model; n_users, n_items: of a made data set
    n_windows, epochs, learning_rate: of every run
    evaluation_windows: test windows that are ranked; users_per_batch: of them, that are searched for or
        answer freely at once
    fewer_windows: the other numbers of training windows that the learning curve is drawn through
    seeds: of the runs
    """

    source: str = "synthetic"
    lm: str = "random"
    n_users: int = 600
    n_items: int = 100
    n_windows: int = 512
    epochs: int = 1
    learning_rate: float = 1e-2
    evaluation_windows: int = 400
    users_per_batch: int = 128
    fewer_windows: tuple[int, ...] = (128, 256)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # [MSL] Table 3 has several

    def __post_init__(self) -> None:
        positive = (
            "n_users", "n_items", "n_windows", "epochs", "learning_rate", "evaluation_windows",
            "users_per_batch", "fewer_windows",
        )  # fmt: skip
        settle(self, "msl_tables.stability", positive=positive)
        if not self.seeds:
            raise InputError("msl_tables.stability.seeds is empty: name at least one seed")


@dataclass(frozen=True, kw_only=True)
class MSLTablesConfig:
    """How much is measured for the tables and lemmas of the MSL paper.

    bound_windows: test windows whose whole catalogue is ranked; list_windows: of them, those that beams are
        searched for too
    logit_windows: test windows at whose target positions the logits of the valid tokens are looked at
    preference_windows: training windows of S-DPO, after its reference was tuned on the profile's
    cost_windows, cost_batch: training windows on which time and memory are measured, and of each step
    taught_windows: that the language model answers as the teacher of DLLM2Rec
    reasoning: of the windows that the language model reasons about for LLM-CF
    method_budget: settings that are tried for each of DROS, DLLM2Rec and LLM-CF; 0 takes the first of them
        with the epochs that were chosen for the backbone alone
    methods: those of TABLE_METHODS that are compared on the profile's data
    hybrids: those of HYBRID_ROWS that the main table has on the profile's data
    made: of the table that has every row, all of HYBRID_ROWS among them, on a made catalogue
    stability: of the runs from several seeds
    grid_temperatures: of MSL, each tried once on the profile's data
    temperatures: of MSL, each tried from every seed on two data sets
    temperature, temperature_elsewhere: of those runs on the one and on the other
    """

    bound_windows: int = 24
    list_windows: int = 8
    logit_windows: int = 64
    preference_windows: int = 64
    cost_windows: int = 16
    cost_batch: int = 4
    taught_windows: int = 32
    reasoning: ReasoningConfig = field(default_factory=ReasoningConfig)
    method_budget: int = 0
    methods: tuple[str, ...] = ("lml", "msl", "msl_ats")
    hybrids: tuple[str, ...] = ()
    made: StabilityConfig = field(default_factory=StabilityConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    grid_temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 4.0)
    temperature: StabilityConfig = field(default_factory=lambda: StabilityConfig(seeds=(0, 1, 2, 3)))
    temperature_elsewhere: StabilityConfig = field(
        default_factory=lambda: StabilityConfig(
            n_users=1_500, n_items=500, n_windows=1_024, seeds=(0, 1, 2, 3)
        )
    )

    def __post_init__(self) -> None:
        windows = ("bound_windows", "list_windows", "logit_windows", "preference_windows", "taught_windows")
        positive = (*windows, "cost_windows", "cost_batch", "grid_temperatures", "temperatures")
        settle(self, "msl_tables", positive=positive, not_negative=("method_budget",))
        for group, known in (("methods", TABLE_METHODS), ("hybrids", HYBRID_ROWS)):
            unknown = [name for name in getattr(self, group) if name not in known]
            if unknown:
                raise InputError(f"msl_tables.{group} has {unknown}: choose among {', '.join(known)}")
        if len(self.stability.seeds) < 2:
            raise InputError(
                f"msl_tables.stability.seeds is {self.stability.seeds}: a spread needs two or more"
            )
        if TABLE_METHODS[0] not in self.methods:
            raise InputError(f"msl_tables.methods lacks {TABLE_METHODS[0]!r}, which the others refer to")
        if self.cost_windows < 2 * self.cost_batch:
            raise InputError(
                f"msl_tables.cost_windows is {self.cost_windows}: at least two steps of cost_batch "
                f"({self.cost_batch}), of which the first only warms up"
            )


SMOKE_MSL_TABLES = MSLTablesConfig(
    bound_windows=8,
    list_windows=4,
    logit_windows=16,
    preference_windows=32,
    taught_windows=24,
    reasoning=SMOKE_REASONING,
    method_budget=1,
    methods=TABLE_METHODS,
    hybrids=("llara_lml", "llara_msl_ats"),
    made=StabilityConfig(n_users=100, n_windows=48, evaluation_windows=24, seeds=(0, 1)),
    stability=StabilityConfig(
        n_users=100, n_windows=48, evaluation_windows=24, fewer_windows=(24,), seeds=(0, 1)
    ),
    grid_temperatures=(1.0, 2.0),
    temperatures=(1.0, 2.0),
    temperature=StabilityConfig(n_users=100, n_windows=48, evaluation_windows=24, seeds=(0, 1)),
    temperature_elsewhere=StabilityConfig(
        n_users=100, n_items=60, n_windows=48, evaluation_windows=24, seeds=(0, 1)
    ),
)

PAPER_MSL_TABLES = MSLTablesConfig(
    bound_windows=512,  # ours
    list_windows=256,  # ours
    logit_windows=512,  # ours
    preference_windows=10_000,  # released code of MSL: the windows of LML
    cost_windows=1_280,  # ours
    cost_batch=128,  # released code
    taught_windows=10_000,  # ours
    reasoning=PAPER_REASONING,
    method_budget=6,  # ours: as for the backbones
    methods=TABLE_METHODS,  # [MSL] Tables 5 and 6
    hybrids=HYBRID_ROWS,  # [MSL] Table 5; §5.1.3: grounding too
    made=StabilityConfig(
        source="synthetic",  # ours: what any machine can run to a decision
        lm="random",  # ours
        n_users=600,  # ours
        n_items=100,  # ours
        n_windows=512,  # ours
        epochs=10,  # ours: 40 steps of the profile's batches
        learning_rate=1e-2,  # ours
        evaluation_windows=400,  # ours
        users_per_batch=128,  # ours
        fewer_windows=(128, 256),  # ours: not read, the learning curve is of `stability`
        seeds=(0, 1, 2, 3, 4),  # ours
    ),
    stability=StabilityConfig(
        source="msl_toy",  # [MSL] Table 3; msl_book by override
        lm="smollm2-135m-instruct",  # ours: [MSL] §5.1.3 has LLaMA3-8B
        n_users=1,  # ours: not read, the data set is no made one
        n_items=1,  # ours: not read
        n_windows=10_000,  # released code: train_10000
        epochs=10,  # [MSL] §5.1.3
        learning_rate=1e-4,  # released code
        evaluation_windows=1_000_000,  # [MSL] §5.1.1: all test windows
        users_per_batch=32,  # ours
        fewer_windows=(1_000, 3_000),  # ours
        seeds=(0, 1, 2, 3, 4),  # ours: [MSL] Table 3 does not say how many
    ),
    grid_temperatures=(1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),  # [MSL] Fig. 6
    temperatures=(1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),  # [MSL] Fig. 6
    temperature=StabilityConfig(
        source="msl_book",  # [MSL] Fig. 6
        lm="smollm2-135m-instruct",  # ours: [MSL] §5.1.3 has LLaMA3-8B
        n_users=1,  # ours: not read, the data set is no made one
        n_items=1,  # ours: not read
        n_windows=10_000,  # released code: train_10000
        epochs=10,  # [MSL] §5.1.3
        learning_rate=1e-4,  # released code
        evaluation_windows=1_000_000,  # [MSL] §5.1.1: all test windows
        users_per_batch=32,  # ours
        fewer_windows=(1_000, 3_000),  # ours
        seeds=(0, 1, 2, 3, 4),  # ours: [MSL] Table 3 does not say how many
    ),
    temperature_elsewhere=StabilityConfig(
        source="msl_toy",  # [MSL] Fig. 6
        lm="smollm2-135m-instruct",  # ours: [MSL] §5.1.3 has LLaMA3-8B
        n_users=1,  # ours: not read, the data set is no made one
        n_items=1,  # ours: not read
        n_windows=10_000,  # released code: train_10000
        epochs=10,  # [MSL] §5.1.3
        learning_rate=1e-4,  # released code
        evaluation_windows=1_000_000,  # [MSL] §5.1.1: all test windows
        users_per_batch=32,  # ours
        fewer_windows=(1_000, 3_000),  # ours
        seeds=(0, 1, 2, 3, 4),  # ours: [MSL] Table 3 does not say how many
    ),
)
