"""Tables as Markdown and as LaTeX (booktabs)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "τ": r"$\tau$",
    "η": r"$\eta$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "𝓛": r"$\mathcal{L}$",
    "¹": "$^1$",
    "²": "$^2$",
}
_MISSING = "–"


def markdown(table: pd.DataFrame, caption: str, *, digits: int) -> str:
    """A pipe table below its caption; numbers flush right."""
    right = _is_number(table)
    rule = ["---:" if is_right else "---" for is_right in right]
    lines = [list(map(str, table.columns)), rule, *_cells(table, digits)]
    body = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    return f"{caption}\n\n{body}\n"


def latex(table: pd.DataFrame, caption: str, *, label: str, digits: int) -> str:
    r"""A `table` with booktabs rules, `\label{tab:<label>}`; every special character escaped."""
    columns = "".join("r" if is_right else "l" for is_right in _is_number(table))
    head, *rows = [
        " & ".join(escape(cell) for cell in line) + r" \\"
        for line in [list(map(str, table.columns)), *_cells(table, digits)]
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is read here."""
    return "".join(_LATEX.get(character, character) for character in text)


def _is_number(table: pd.DataFrame) -> list[bool]:
    kinds = [table[column].dtype for column in table.columns]
    return [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in kinds]


def _cells(table: pd.DataFrame, digits: int) -> list[list[str]]:
    columns = [[_cell(value, digits) for value in table[column]] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _cell(value: Any, digits: int) -> str:
    if pd.isna(value):
        return _MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
        return text.replace("-", "−")
    return " ".join(str(value).split())
