"""Rows of a data set as sequences, scored once each, and comparisons between them.

A row holds K sequences and P comparisons; a comparison has a sequence ahead, one behind (-1: none, a single
response), and the columns of its loss, (a, b, m) or (w, d, m):

    columns of the row                             sequences    comparisons
    chosen, rejected (perhaps prompt)              2            1: a = weight, b = weight label_prob
    chosen_ids, rejected_ids                       2            1, tokenised before
    prompt, completion, label                      1            1: a = weight, b = weight label
    prompt, completions, labels                    K            all pairs: the higher label is better
    completions of {completion, rank}              K            the same, the lowest rank is the best
    prompt, completions, ahead, behind, a, b, m    K            as given

`weight` (1 when absent), `margin` (or `m`), and a and b (or w and d) are read from every row that has them; a
given pair of columns replaces what weight and label would make. `label` and `label_prob` may be soft. A group
of K labelled responses weighs K / 2 pairs: each of its pairs 1 / (K - 1). Equal labels have the target 1/2.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from math import isfinite
from typing import Any

from unskew.reward.tokens import Tokens

Row = Mapping[str, Any]
Prepared = dict[str, Any]

COLUMNS = ("a", "b", "m")


def prepare(dataset: Any, tokens: Tokens, loss: str, *, workers: int | None = None) -> tuple[Any, int]:
    """A data set of sequences and comparisons.

    Args:
        dataset: a `datasets.Dataset` with columns as above.
        tokens: how texts become token ids.
        loss: `logistic`, `brier` or `mixture`; the mixture reads columns w and d.
        workers: processes that tokenise.

    Returns:
        (data set, number of sequences that were truncated): columns `row`, `input_ids` [K][tokens], `ahead`,
        `behind`, `a`, `b`, `m` [P]; a and b hold w and d of the mixture.

    Raises:
        ValueError: the data set is empty, its columns are none of the above, or a number is not finite; names
            the row.
    """
    if not len(dataset):
        raise ValueError("the data set has no row; at least one is needed to train on")
    shape = _shape(dataset.column_names)

    def work(row: Row, number: int) -> Prepared:
        try:
            made = shape(row, tokens, loss)
        except (ValueError, TypeError) as error:
            raise ValueError(f"row {number}: {error}") from None
        return {"row": number, **made}

    made = dataset.map(
        work, with_indices=True, remove_columns=dataset.column_names, num_proc=workers, desc="Tokenizing"
    )
    return made.remove_columns("truncated"), int(sum(made["truncated"]))


def _shape(columns: list[str]) -> Callable[[Row, Tokens, str], Prepared]:
    """The reader of rows with these columns."""
    for needed, reader in _SHAPES:
        if all(name in columns for name in needed):
            return reader
    known = "; ".join(", ".join(needed) for needed, _ in _SHAPES)
    raise ValueError(f"the data set has columns {', '.join(columns)}; one of these sets is needed: {known}")


def _ids(row: Row, tokens: Tokens, loss: str) -> Prepared:
    cut = [tokens.cut(list(row[name])) for name in ("chosen_ids", "rejected_ids")]
    if not all(ids for ids, _ in cut):
        raise ValueError("chosen_ids or rejected_ids is empty; at least one token is needed")
    return _one(row, cut, loss, behind=1, label="label_prob")


def _pair(row: Row, tokens: Tokens, loss: str) -> Prepared:
    return _one(
        row, [_tokens(row, row[name], tokens, name) for name in ("chosen", "rejected")], loss, behind=1,
        label="label_prob",
    )  # fmt: skip


def _single(row: Row, tokens: Tokens, loss: str) -> Prepared:
    return _one(row, [_tokens(row, row["completion"], tokens, "completion")], loss, behind=-1, label="label")


def _group(row: Row, tokens: Tokens, loss: str) -> Prepared:
    given = row["completions"]
    if given and isinstance(given[0], Mapping) and "completion" in given[0]:  # with ranks, the lowest best
        labels: Any = [-_number(each, "rank") for each in given]
        given = [each["completion"] for each in given]
    else:
        labels = row.get("labels")
    cut = [_tokens(row, text, tokens, f"completion {k}") for k, text in enumerate(given)]
    if row.get("ahead") is not None:
        pairs = list(zip(row["ahead"], row["behind"], strict=True))
        columns = [[_finite(x, name) for x in row[name]] for name in _names(loss)]
    else:
        if labels is None or len(labels) != len(given):
            raise ValueError(f"{len(given)} completions need as many labels; found {labels!r}")
        if loss == "mixture":
            raise ValueError("the mixture loss reads columns w and d, which labels do not give")
        pairs = list(combinations(range(len(given)), 2))
        share = _finite(row.get("weight", 1.0), "weight") / max(len(given) - 1, 1)
        better = [_better(labels[i], labels[j]) for i, j in pairs]
        columns = [[share] * len(pairs), [share * t for t in better], [0.0] * len(pairs)]
    if not pairs:
        raise ValueError(f"{len(given)} completions make no comparison; at least two are needed")
    for i, j in pairs:
        if not (0 <= i < len(given) and -1 <= j < len(given) and i != j):
            raise ValueError(f"comparison of {i} with {j}, but there are {len(given)} completions")
    return _prepared(cut, [i for i, _ in pairs], [j for _, j in pairs], columns)


_SHAPES: tuple[tuple[tuple[str, ...], Callable[[Row, Tokens, str], Prepared]], ...] = (
    (("chosen_ids", "rejected_ids"), _ids),
    (("chosen", "rejected"), _pair),
    (("completions",), _group),
    (("completion",), _single),
)


def _better(here: float, there: float) -> float:
    """Target of "here is better"."""
    return 1.0 if here > there else 0.0 if here < there else 0.5


def _names(loss: str) -> tuple[str, ...]:
    return ("w", "d", "m") if loss == "mixture" else COLUMNS


def _one(row: Row, cut: list[tuple[list[int], bool]], loss: str, *, behind: int, label: str) -> Prepared:
    """One comparison, from columns as given or from weight and label."""
    first, second, _ = _names(loss)
    if row.get(first) is not None and row.get(second) is not None:
        a, b = _number(row, first), _number(row, second)
    elif loss == "mixture":
        raise ValueError("the mixture loss reads columns w and d; they are missing")
    else:
        if label == "label" and row.get(label) is None:
            raise ValueError("there is neither a label nor columns a and b")
        a = _number(row, "weight", 1.0)
        b = a * _number(row, label, 1.0)
    m = _number(row, "m" if row.get("m") is not None else "margin", 0.0)
    return _prepared(cut, [0], [behind], [[a], [b], [m]])


def _prepared(
    cut: list[tuple[list[int], bool]], ahead: list[int], behind: list[int], columns: list[list[float]]
) -> Prepared:
    return {
        "input_ids": [ids for ids, _ in cut],
        "ahead": ahead,
        "behind": behind,
        **dict(zip(COLUMNS, columns, strict=True)),
        "truncated": sum(short for _, short in cut),
    }


def _tokens(row: Row, completion: Any, tokens: Tokens, name: str) -> tuple[list[int], bool]:
    try:
        return tokens(
            row.get("prompt"),
            completion,
            tools=row.get("tools"),
            template=row.get("chat_template_kwargs"),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None


def _number(row: Row, name: str, absent: float | None = None) -> float:
    value = row.get(name)
    return _finite(absent if value is None else value, name)


def _finite(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{name} is {value!r}; a finite number is needed. Correct the row or drop it")
    return float(value)
