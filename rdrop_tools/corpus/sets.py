"""Writes the sets of a corpus: UTF-8, a sentence a line, the same bytes on every system."""


def create_text(path):
    """Open a new text file for writing."""
    return open(path, "w", encoding="utf-8", newline="\n")


def write_lines(path, lines):
    """Write a text file of lines, which come without their ends."""
    with create_text(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def describe_sets(sets):
    """Return how many members each of {name: members} has, in words."""
    return ", ".join(f"{name} {len(members):,}" for name, members in sets.items())
