"""Leave one out on Amazon Instant Video by time, 1 + 99: the federated papers' own file.

P1 and P2 of docs/evaluation.md. Among ItemKNN and counts in order, the settings with the best
NDCG@10 over all products on each user's last but one are chosen. Five retailers by a hash of the
user. Popularity alone scores .617 / .407 here, more than what is published for PFedRec (.60 / .39).
"""

from pathlib import Path

from benchmarks.leave_one_out import dealt, measured, rated
from benchmarks.protocols import CARDS
from benchmarks.rows import Row, need

SOURCE = "github.com/Zhangcx19/IJCAI-23-PFedRec, data/amazon/ratings.dat, as ratings.csv.gz"
BARS = {"1+99 HR@10": 0.665, "1+99 NDCG@10": 0.485}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows; with --quick of every tenth user."""
    path = need(data / "amazon-video" / "ratings.csv.gz", SOURCE)
    for name in ("P1", "P2"):
        print(f"  {name}: {CARDS[name]}")
    sequences, products = rated(path)
    world = dealt(sequences[:: 10 if quick else 1], products)
    return measured(
        world, "video", ("auto", "popularity", "transitions"), {} if quick else BARS, True
    )
