"""Features without a download: n-grams of the response hashed into a fixed number of columns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from unskew.features.base import CHUNK, Array, check_lengths, length


@dataclass
class Hashing:
    """Signed feature hashing of word and character n-grams of the response.

        phi = c / sqrt(||c||_2)      c_j = sum over n-grams g with hash(g) = j of sign(g) count(g)

    A block of columns for words and one for characters. Half way between counts, where one long text
    outweighs many, and directions, which cannot tell a thing said once from one said in every sentence.
    Assumption: the prompt does not matter; two responses of one prompt are told apart by their own words.

    Args:
        dim: hashed columns, at least 8; the result has one more, the length.
        words: smallest and largest word n-gram.
        characters: smallest and largest character n-gram (within words), or None for words alone.
        character_share: share of the columns for characters, in (0, 1).

    Raises:
        ValueError: an argument is out of range.

    Source: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", eq. 2.

    Example:
        >>> Hashing(dim=64)(["Why?"], ["Because it rained."]).shape
        (1, 65)
    """

    dim: int = 1024
    words: tuple[int, int] = (1, 2)
    characters: tuple[int, int] | None = (3, 3)
    character_share: float = 0.25
    counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.words = (int(self.words[0]), int(self.words[1]))
        if self.characters is not None:
            self.characters = (int(self.characters[0]), int(self.characters[1]))
        if self.dim < 8:
            raise ValueError(f"dim is {self.dim}; at least 8 hashed columns are needed")
        for name, span in (("words", self.words), ("characters", self.characters)):
            if span is not None and not 1 <= span[0] <= span[1]:
                raise ValueError(
                    f"{name} is {span}; it must be (smallest, largest) with 1 <= smallest <= largest"
                )
        if not 0 < self.character_share < 1:
            raise ValueError(f"character_share is {self.character_share}; it must be in (0, 1)")

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Array:
        """Features of the responses, the length column last. Shape [N, dim + 1].

        Args:
            prompts: not used; its length must match. Length N.
            responses: texts. Length N.

        Raises:
            ValueError: the two lengths differ.
        """
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.utils.extmath import row_norms

        check_lengths(prompts, responses)
        letters = 0 if self.characters is None else max(1, round(self.dim * self.character_share))
        kinds = [(self.dim - letters, "word", self.words), (letters, "char_wb", self.characters)]
        blocks = [
            HashingVectorizer(
                n_features=columns, analyzer=analyzer, ngram_range=span, norm=None, dtype=np.float32
            )
            for columns, analyzer, span in kinds
            if columns
        ]
        out = np.empty((len(responses), self.dim + 1), np.float32)
        for start in range(0, len(responses), CHUNK):
            rows = slice(start, start + CHUNK)
            left = 0
            for block in blocks:
                hashed = block.transform(responses[rows])
                root = np.sqrt(np.maximum(row_norms(hashed), 1))  # counts are whole: 0, or at least 1
                out[rows, left : left + block.n_features] = hashed.toarray() / root[:, None]
                left += block.n_features
        out[:, -1:] = length(responses)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON."""
        settings = asdict(self)
        settings.pop("counts")
        return {"featurizer": "hashing", **settings}
