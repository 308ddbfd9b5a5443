"""Every retailer keeps its subtotals. Together they learn only the grand total.

import grandtotal as gt

run = gt.run(gt.init("my-consortium"))
run.scores["recommend"]["overall"]["gain"]["alone"]
run.predict("north", "recommend")
"""

from typing import Any

__version__ = "0.8.0"

__all__ = [
    "DataError",
    "GrandtotalError",
    "Plan",
    "PlanError",
    "RefusedError",
    "RetailerError",
    "Run",
    "RunError",
    "RunFolder",
    "catalogue_key",
    "check",
    "compare",
    "demo",
    "init",
    "resume",
    "run",
    "runs",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: the command line answers at once, and the coordinator's process
    # never loads what reads tables.
    if name not in __all__:
        raise AttributeError(f"module 'grandtotal' has no attribute '{name}'")
    from grandtotal import api, errors, plan, runfolder

    modules = (errors, plan, runfolder, api)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def __dir__() -> list[str]:
    return __all__
