"""Findings about checkable statements, as the analyses of every study give them to the registry."""

from __future__ import annotations

from typing import Any

import pandas as pd

Finding = dict[str, Any]  # a row of `registry.record_statements`


def finding(spec: str, number: str, dataset: str, holds: bool, note: str, **values: float) -> Finding:
    """One finding; values: `value`, `low` and `high`, as far as there are any."""
    return {"spec": spec, "number": number, "dataset": dataset, "holds": holds, "note": note, **values}


def row_finding(
    spec: str, number: str, dataset: str, holds: bool, note: str, row: Any, *, value: str = "difference"
) -> Finding:
    """One that shows a row of a table: its column `value`, low and high."""
    ends = {"low": float(row["low"]), "high": float(row["high"])}
    return finding(spec, number, dataset, holds, note, value=float(row[value]), **ends)


def interval_text(row: Any, form: str = ".4f") -> str:
    """Low and high of a row in words, "(0.01 to 0.02)"; "(no interval)" where they are missing."""
    if pd.isna(row["low"]):
        return "(no interval)"
    return f"({row['low']:{form}} to {row['high']:{form}})"
