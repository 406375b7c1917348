"""``python -m rdrop_fairseq`` prints the directory to give to fairseq's ``--user-dir``."""

from pathlib import Path


def main() -> None:
    """Print the absolute path of the plugin."""
    print(Path(__file__).resolve().parent)


if __name__ == "__main__":
    main()
