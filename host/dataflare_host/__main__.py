"""``python -m dataflare_host``: the command line."""

import sys

from dataflare_host.cli import main

sys.exit(main())
