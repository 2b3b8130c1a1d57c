"""Run the machine, and tell how often each thing was taken.

python -m tests.model [--profile quick|test|full|nightly] [--minutes N] [--seed S]
"""

import sys

from tests.model.run import main

sys.exit(main())
