"""Leave one out on MovieLens 100K by time: without order, and with it.

P1, full ranking, and P2, 1 + 99, as docs/evaluation.md says. "order-free" blends what knows only
which items a user rated; "sequential" may use their order. Models, hyper-parameters and shares are
chosen on each user's last but one item, over all items: "sequential" by NDCG@10, "order-free" by
NDCG over a tenth of the items, which is the part that 1 + 99 asks for. Then the model is fitted
with that item. Five retailers by a hash of the user; "alone" is each one's own choice and fit of
the same grid. A network is trained, not counted: its pooled row is another model.

PFedRec (Zhang et al., IJCAI 2023, https://arxiv.org/abs/2305.07866) re-run without its leak, in
NumPy, one seed, 100 rounds: .562 / .340 with each user's own items, .623 / .369 with shared ones
(1 + 99, HR@10 / NDCG@10); with the leak .720 / .452.
"""

from pathlib import Path

from benchmarks.leave_one_out import dealt, measured, rated
from benchmarks.protocols import CARDS, K
from benchmarks.rows import Row, need

SOURCE = "github.com/Zhangcx19/IJCAI-23-PFedRec, data/ml-100k/ratings.dat, renamed to ml-100k.csv"
ORDER_FREE = ("auto", "popularity", "item-knn", "ease", "edlae", "als")
SEQUENTIAL = ("auto", "ease", "als", "transitions", "gru")
BARS = {
    "order-free": {"1+99 HR@10": 0.665, "1+99 NDCG@10": 0.400},
    "sequential": {"1+99 HR@10": 0.69, "1+99 NDCG@10": 0.43},
}


def _places(label: str, products: int) -> int:
    return products // 10 if label == "order-free" else K


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows of both."""
    path = need(data / "movielens" / "ml-100k.csv", SOURCE)
    for name in ("P1", "P2"):
        print(f"  {name}: {CARDS[name]}")
    world = dealt(*rated(path))
    kinds = (
        {"sequential": ("transitions",)}
        if quick
        else {
            "order-free": ORDER_FREE,
            "sequential": SEQUENTIAL,
        }
    )
    return [
        row
        for label, models in kinds.items()
        for row in measured(
            world, label, models, BARS[label], sampled=True, top=_places(label, world.products)
        )
    ]
