"""Writes numbers in English and in German words: a small language pair."""

ENGLISH = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
]
ENGLISH_TENS = {
    **{2: "twenty", 3: "thirty", 4: "forty", 5: "fifty"},
    **{6: "sixty", 7: "seventy", 8: "eighty", 9: "ninety"},
}
GERMAN = [
    *("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    *("zehn", "elf", "zwölf", "drei zehn", "vier zehn", "fünf zehn", "sech zehn"),
    *("sieb zehn", "acht zehn", "neun zehn"),
]
GERMAN_TENS = {
    **{2: "zwan zig", 3: "drei ßig", 4: "vier zig", 5: "fünf zig"},
    **{6: "sech zig", 7: "sieb zig", 8: "acht zig", 9: "neun zig"},
}
BELOW = 1_000_000


def english(number: int) -> str:
    """Returns a number in English words.

    Args:
        number: from 0 to 999,999.

    Raises:
        ValueError: there are no words for the number here.

    Example:
        >>> english(423)
        'four hundred twenty-three'
    """
    thousands, rest = _split(number)
    words = [_english(thousands), "thousand"] if thousands else []
    return " ".join([*words, *([_english(rest)] if rest or not thousands else [])])


def german(number: int) -> str:
    """Returns a number in German, the one long word taken apart into its morphemes.

    Without its spaces it is the word: "vierhundertdreiundzwanzig". Units come before tens there,
    so that a translator has to learn an order, not words alone.

    Args:
        number: from 0 to 999,999.

    Raises:
        ValueError: there are no words for the number here.

    Example:
        >>> german(423)
        'vier hundert drei und zwan zig'
    """
    thousands, rest = _split(number)
    parts = [*_german(thousands), "tausend"] if thousands else []
    parts += _german(rest) if rest or not thousands else []
    if parts[-1] == "ein":  # alone, or the last: "hundert eins", but "ein tausend"
        parts[-1] = "eins"
    return " ".join(parts)


def _split(number: int) -> tuple[int, int]:
    if not 0 <= number < BELOW:
        raise ValueError(
            f"number={number}; expected 0 to {BELOW - 1:,}. Write german({abs(number) % BELOW})."
        )
    return divmod(number, 1000)


def _english(number: int) -> str:
    """A number below a thousand."""
    hundreds, rest = divmod(number, 100)
    words = [ENGLISH[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(ENGLISH_TENS[tens] + (f"-{ENGLISH[ones]}" if ones else ""))
    elif rest or not hundreds:
        words.append(ENGLISH[rest])
    return " ".join(words)


def _german(number: int) -> list[str]:
    """The morphemes of a number below a thousand."""
    hundreds, rest = divmod(number, 100)
    parts = [GERMAN[hundreds], "hundert"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        parts += [GERMAN[ones], "und"] if ones else []
        parts += GERMAN_TENS[tens].split()
    elif rest or not hundreds:
        parts += GERMAN[rest].split()
    return parts
