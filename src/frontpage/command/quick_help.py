"""`train.py --help` at once: imported before torch and Lightning, whose import takes five seconds of CPU.

Hydra makes the text from the configs alone, and calls no task. Only the program is answered, not who imports it.
"""

import os
import sys
from pathlib import Path

import hydra

from frontpage.command.allowed_targets import named_targets
from frontpage.command.config_folder import CONFIGS
from frontpage.command.program import program

if Path(sys.argv[0]).name == "train.py" and {"--help", "-h"} & {*sys.argv[1:]}:
    os.environ["HYDRA_MAIN_MODULE"] = "train"  # the name in the text
    main = hydra.main(config_path=CONFIGS, config_name="train", execution_whitelist=sorted(named_targets()))
    program(main(lambda config: None))
    sys.exit(0)
