"""``python -m infocap``: the book's command line."""

import gc
import sys

if __name__ == "__main__":
    if sys.argv[1:] == ["doctor"]:  # works also where the imports below do not
        from infocap.study.doctor import main

        sys.exit(main())
    # Part of jsonschema, a second to import: it checks addresses, and no notebook's schema has one.
    sys.modules.setdefault("rfc3987_syntax", None)
    gc.disable()  # what is imported stays, and to look for garbage in it takes another second
    from infocap.experiments.catalogue import CATALOGUE
    from infocap.study.cli import main

    gc.freeze()
    gc.enable()
    main(CATALOGUE)
