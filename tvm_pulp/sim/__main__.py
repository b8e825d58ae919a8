"""Run the simulator's command."""

import sys

from tvm_pulp.runtime.sim.command_line import main

sys.exit(main())
