"""A FLARE job's process that ends with the process that started it.

FLARE's own watch over the parent begins late: a job that is still starting when its parent is
killed would go on alone, and keep the retailer's ledger from the next one.

python -m grandtotal.engine.job server|site ARGUMENTS OF FLARE'S MODULE
"""

import os
import runpy
import sys
import threading
import time

MODULES = {
    "server": "nvflare.private.fed.app.server.runner_process",
    "site": "nvflare.private.fed.app.client.worker_process",
}
_LOOK_S = 0.5


def end_with(parent: int) -> None:
    """Ends this process as soon as it has another parent."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    module = MODULES[sys.argv[1]]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
