"""Words for people: numbers with their nouns, and texts that cannot move the cursor."""


def printable(text: str) -> str:
    """Return a text with what would move the cursor or change colours spelled out."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def counted(n: int, noun: str) -> str:
    """Return a number and its noun: `1 row`, `2,000 rows`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
