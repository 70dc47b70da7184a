"""``python -m lemmy_safety`` is the same as ``lemmy-safety``."""

from lemmy_safety.cli import main

if __name__ == "__main__":
    main()
