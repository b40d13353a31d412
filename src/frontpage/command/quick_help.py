"""`train.py --help` and completion in a shell at once: before torch and Lightning, whose import takes seconds of CPU.

Hydra answers both from the configs alone, and calls no task. Only the program is answered, not who imports it.
"""

import os
import sys
from pathlib import Path

import hydra

from frontpage.command.allowed_targets import named_targets
from frontpage.command.config_folder import CONFIGS
from frontpage.command.program import program

QUICK = {"--help", "-h", "--shell-completion", "-sc"}

if Path(sys.argv[0]).name == "train.py" and QUICK & {*sys.argv[1:]}:
    os.environ["HYDRA_MAIN_MODULE"] = "train"  # the name in the text
    main = hydra.main(config_path=CONFIGS, config_name="train", execution_whitelist=sorted(named_targets()))
    program(main(lambda config: None))
    sys.exit(0)
