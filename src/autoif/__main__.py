import sys

from autoif.cli import main

sys.exit(main())
