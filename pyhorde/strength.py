"""How hard a secret is to guess, as far as one can tell by looking at it.

An upper bound for what people make up, and not too low for what a generator makes: digits of
hexadecimal or base64 count in full, a repetition counts once, and in what is made of words a word
counts as one choice among two thousand, however long it is. Sixteen random bytes in hexadecimal are
never taken for weak; in base64, once in some ten thousand times.
"""

from __future__ import annotations

import math
import re
import string
from typing import Final

WEAK_BITS: Final = 80.0
"""Less than so many can be guessed by somebody who wants to."""
WORD_BITS: Final = 11.0
"""What a word adds: there are some thousand common ones."""
MOSTLY: Final = 0.6
"""What has at least this share of its letters in words has been made of words."""
_WORD: Final = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_LONGEST: Final = 8
"""Letters in a row count as words of this length, at most."""
_HEX: Final = frozenset(string.hexdigits.lower())
_CLASSES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


def bits(secret: bytes) -> float:
    """About the logarithm of the number of guesses, to the base of two."""
    text = secret.decode("latin-1")
    fresh = len({text[i : i + 2] for i in range(len(text) - 1)}) + 1 if text else 0
    share = min(1.0, fresh / len(text)) if text else 0.0
    if set(text) <= _HEX or set(text) <= {c.upper() for c in _HEX}:
        return share * 4 * len(text)
    each = math.log2(_alphabet(text))
    words = sum(WORD_BITS * math.ceil(len(word) / _LONGEST) for word in _WORD.findall(text))
    rest = _WORD.sub("", text)
    if len(rest) > len(text) * (1 - MOSTLY):  # chance makes words too, but few
        return share * each * len(text)
    return share * (words + each * len(rest))


def _alphabet(text: str) -> int:
    size = sum(len(each) for each in _CLASSES if set(text) & set(each))
    others = set(text) - set("".join(_CLASSES))
    if any(not " " <= c <= "~" for c in others):
        return 256
    return max(2, size + (32 if others else 0))
