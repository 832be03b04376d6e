"""All statements of the FAERec study judged at once, from the grids that its notebooks share."""

from __future__ import annotations

from typing import Any

from reclib.analysis import sequence_cells, sequence_tables
from reclib.analysis.faerec import statements
from reclib.analysis.faerec.method_spaces import spaces_of
from reclib.analysis.sequence import SequenceBench
from reclib.analysis.sequence_cells import ABLATIONS, FAEREC, IN_DIVERSITY, IN_GROUPS


def findings(bench: SequenceBench) -> list[dict[str, Any]]:
    """Rows of `registry.record_statements` for statements 1a to 6 on every data set of the profile.

    Trains what is not in the cache: the grids of notebooks 30, 31, 32 and 35.
    """
    return [*_of_accuracy(bench), *_of_ablations(bench), *_of_groups(bench), *_of_lists_and_spaces(bench)]


def _of_accuracy(bench: SequenceBench) -> list[dict[str, Any]]:
    main = bench.train(sequence_cells.main_cells(bench.profile))
    every = main | bench.train(sequence_cells.more_backbone_cells(bench.profile))
    comparison = sequence_tables.comparison_table(main, bench)
    return [
        *statements.accuracy_statements(sequence_tables.differences_table(every, bench, methods=[FAEREC])),
        *statements.proportion_statement(every, bench),
        *statements.best_baseline_statement(sequence_tables.against_best(main, bench, comparison)),
    ]


def _of_ablations(bench: SequenceBench) -> list[dict[str, Any]]:
    trained = bench.train(sequence_cells.ablation_cells(bench.profile))
    from_faerec, from_feature = (
        sequence_tables.differences_table(trained, bench, reference=reference, methods=list(ABLATIONS))
        for reference in (FAEREC, "without_feature_alignment")
    )
    return statements.ablation_statements(from_faerec, from_feature)


def _of_groups(bench: SequenceBench) -> list[dict[str, Any]]:
    cells = sequence_cells.of_methods(sequence_cells.main_cells(bench.profile), IN_GROUPS)
    trained = bench.train(cells)
    from_base, from_rival = (
        sequence_tables.differences_table(
            trained, bench, reference=reference, methods=[FAEREC], groups="popularity"
        )
        for reference in (sequence_cells.BASE, "rlmrec_con")
    )
    return statements.group_statements(from_base, from_rival)


def _of_lists_and_spaces(bench: SequenceBench) -> list[dict[str, Any]]:
    cells = sequence_cells.of_methods(sequence_cells.main_cells(bench.profile), IN_DIVERSITY)
    trained = bench.train(cells)
    coverage = sequence_tables.coverage_table(trained, bench)
    spaces = spaces_of(bench)
    return [
        *statements.coverage_statement(coverage, sequence_tables.coverage_differences(trained, bench)),
        *statements.spaces_statement(spaces["numbers"], spaces["steps"]),
    ]
