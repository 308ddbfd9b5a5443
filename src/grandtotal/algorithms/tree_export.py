"""An ensemble as LightGBM's text file: any program that reads one can score our trees.

Its input are `TreesModel.inputs`: nan is missing, a grouped category is its code.
https://lightgbm.readthedocs.io
"""

import numpy as np

from grandtotal.algorithms.tree_bins import CATEGORY, Feature
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_shape import Trees, spread

_LARGEST = 1.7976931348623157e308
_CATEGORICAL, _DEFAULT_LEFT, _NAN_IS_MISSING = 1, 2, 8


def lightgbm_text(model: TreesModel) -> str:
    """Returns the model file; `lightgbm.Booster(model_str=...)` predicts what the model does."""
    aim = {
        "squared": "regression",
        "poisson": "poisson",
        "tweedie": f"tweedie tweedie_variance_power:{model.objective.shape!r}",
        "logistic": "binary sigmoid:1",
        "quantile": f"quantile alpha:{model.objective.shape!r}",
    }[model.objective.name]
    features = model.bins.features
    names = [f"feature_{i}" for i in range(len(features))]  # a name there may hold no blank
    # The score of no tree is a tree of one leaf: the format has no other place for it.
    trees = [_leaf(0, model.base)]
    trees += [_tree(i + 1, tree, features) for i, tree in enumerate(model.trees)]
    head = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={len(features) - 1}",
        f"objective={aim}",
        f"feature_names={' '.join(names)}",
        f"feature_infos={' '.join(_info(feature) for feature in features)}",
        f"tree_sizes={' '.join(str(len(text.encode())) for text in trees)}",
        "",
        "",
    ]
    foot = "end of trees\n\nfeature_importances:\n\nparameters:\nend of parameters\n\n"
    return "\n".join(head) + "".join(trees) + foot + "pandas_categorical:null\n"


def _info(feature: Feature) -> str:
    if feature.kind == CATEGORY:
        return ":".join(str(code) for code in range(feature.bins - 1))
    return f"[{-_LARGEST}:{_LARGEST}]" if len(feature.edges) else "none"


def _leaf(number: int, value: float) -> str:
    return (
        f"Tree={number}\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\n"
        f"decision_type=\nleft_child=\nright_child=\nleaf_value={value!r}\nleaf_weight=\n"
        f"leaf_count=\ninternal_value=\ninternal_weight=\ninternal_count=\nis_linear=0\n"
        f"shrinkage=1\n\n\n"
    )


def _tree(number: int, tree: Trees, features: tuple[Feature, ...]) -> str:
    if not len(tree.parent):
        return _leaf(number, float(tree.values[0]))
    split = {int(parent): i for i, parent in enumerate(tree.parent)}
    leaves = [node for node in range(len(tree.values)) if node not in split]
    place = {node: ~i for i, node in enumerate(leaves)} | split
    thresholds, decisions = [], []
    sets: list[list[int]] = []
    for feature, left in zip(tree.feature, spread(tree.left), strict=True):
        text, decision, group = _decision(features[feature], left, len(sets))
        thresholds.append(text)
        decisions.append(decision)
        sets += group
    columns = {
        "split_feature": tree.feature.tolist(),
        "split_gain": [0] * len(tree.parent),
        "threshold": thresholds,
        "decision_type": decisions,
        "left_child": [place[2 * i + 1] for i in range(len(tree.parent))],
        "right_child": [place[2 * i + 2] for i in range(len(tree.parent))],
        "leaf_value": [repr(float(tree.values[node])) for node in leaves],
        "leaf_weight": tree.rows[leaves].tolist(),
        "leaf_count": tree.rows[leaves].tolist(),
        "internal_value": [repr(float(tree.values[node])) for node in tree.parent],
        "internal_weight": tree.rows[tree.parent].tolist(),
        "internal_count": tree.rows[tree.parent].tolist(),
    }
    if sets:
        columns["cat_boundaries"] = (8 * np.arange(len(sets) + 1)).tolist()
        columns["cat_threshold"] = [word for group in sets for word in group]
    lines = [f"Tree={number}", f"num_leaves={len(leaves)}", f"num_cat={len(sets)}"]
    lines += [f"{name}={' '.join(map(str, values))}" for name, values in columns.items()]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", "", ""])


def _decision(
    feature: Feature,
    left: np.ndarray,
    groups: int,
) -> tuple[str, int, list[list[int]]]:
    """Returns threshold, decision type, and the set of codes that go left, if it is a set."""
    if feature.kind == CATEGORY:
        bits = np.packbits(np.append(left[1:], False), bitorder="little").view("<u4")
        return str(groups), _CATEGORICAL | _NAN_IS_MISSING, [bits.tolist()]
    decision = _NAN_IS_MISSING | (_DEFAULT_LEFT if left[0] else 0)
    last = int(left[1:].sum())  # of the bins of values, these go left
    if not last:
        return repr(-_LARGEST), decision, []
    return (
        repr(float(feature.edges[last - 1])) if last <= len(feature.edges) else repr(_LARGEST),
        decision,
        [],
    )
