"""``python -m infocap``: the book's command line."""

from infocap.experiments import catalogue
from infocap.study.cli import main

if __name__ == "__main__":
    main(catalogue)
