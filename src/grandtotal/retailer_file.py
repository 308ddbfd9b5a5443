"""What a retailer.toml says of its retailer, for whoever needs neither a plan nor a table.

The process that holds a retailer's line knows no more of it, and begins the sooner.
"""

from pathlib import Path

from grandtotal.privacy.door import Door


def name_of(config: Path) -> str:
    """Returns what a retailer.toml calls its retailer."""
    from grandtotal.tables.config import load_config

    return load_config(config).retailer


def door_of(config: Path) -> Door:
    """Returns the folder of keys and rosters beside a retailer.toml."""
    from grandtotal.tables.config import load_config

    return Door(load_config(config).door)
