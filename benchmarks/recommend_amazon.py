"""The next product on Amazon, 5-core: Beauty, Toys and Sports, full ranking, by counts in order.

P1 of docs/evaluation.md on the files of Zhou et al., "S3-Rec", 2020,
https://arxiv.org/abs/2008.07873. "statistics from training only": the test is scored by counts in
which the validation's products are not, as for a model that is trained once; a history holds them.
Without these words the counts are taken again with them, which costs three rounds.

Candidates differ in `shrink`, chosen by NDCG@10 on each user's last but one product. Five retailers
by a hash of the user. Best published centralised models: Beauty .0928/.0531, Toys .0970/.0580,
Sports .0569/.0323 (eSASRec and SASRec with sampled softmax, https://arxiv.org/abs/2508.06450).
"""

from pathlib import Path

from benchmarks.leave_one_out import dealt, listed, measured
from benchmarks.protocols import CARDS
from benchmarks.rows import Row, need
from grandtotal.algorithms.transitions import Transitions

SOURCE = "github.com/RUCAIBox/CIKM2020-S3Rec, data/{Beauty,Toys_and_Games,Sports_and_Outdoors}.txt"
BARS = {
    "Beauty": {"HR@10": 0.093, "NDCG@10": 0.056},
    "Toys_and_Games": {"HR@10": 0.105, "NDCG@10": 0.068},
    "Sports_and_Outdoors": {"HR@10": 0.057, "NDCG@10": 0.034},
}
GRID = tuple(Transitions(half_life=2.0, follows=2.0, shrink=shrink) for shrink in (10.0, 30.0))


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of each department; with --quick of every eighth Beauty user."""
    print(f"  P1: {CARDS['P1']}")
    rows = []
    for name, bars in list(BARS.items())[: 1 if quick else None]:
        sequences, products = listed(need(data / "amazon-5core" / f"{name}.txt.gz", SOURCE))
        some = sequences[:: 8 if quick else 1]
        world = dealt(some, products)
        label = name.split("_")[0]
        rows += measured(world, label, ("transitions",), {} if quick else bars, False, GRID)
    return rows
