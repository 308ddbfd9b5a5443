"""`grandtotal decide`: from a model of a run to prices and orders."""

from __future__ import annotations

import click

from grandtotal import cli_orders, cli_prices
from grandtotal.cli_parts import Group


@click.group(cls=Group)
def decide() -> None:
    """From a model to a decision, at home: nothing of it leaves the retailer."""


decide.add_command(cli_orders.orders)
decide.add_command(cli_prices.prices)
