"""cleanlab: judge each label by networks that did not see it, prune what is called an issue, train on the rest."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, accuracy, detection, evaluation, network, train
from infocap.training.loop import Fit, predict


@method("cleanlab, pruned")
def cleanlab(cell: Cell, split: Split) -> Fit:
    """Ranks by out-of-sample probabilities of five networks, then retrains by cross-entropy."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.model_selection import StratifiedKFold

    labels = split.labels.cpu().numpy()
    probabilities = np.zeros((cell.n, len(split.transition)))
    folds = StratifiedKFold(5, shuffle=True, random_state=cell.order_seed)
    for fold, (rest, held_out) in enumerate(folds.split(labels, labels)):
        rest, held_out = torch.from_numpy(rest), torch.from_numpy(held_out)

        def look(model: nn.Module, held_out: Tensor = held_out) -> dict[str, Any]:
            right = accuracy(model, split.validation_inputs, split.validation_labels)
            return {"validation": right, "out": predict(model, split.inputs[held_out]).softmax(1)}

        model = network(cell, split, member=2 + fold)
        part = {"inputs": split.inputs[rest], "targets": split.labels[rest]}
        run = train(cell, split, model, cross_entropy, evaluate=look, **part)
        best = max(run.records.values(), key=lambda record: record["validation"])
        probabilities[held_out] = best["out"].double().cpu().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    quality = torch.from_numpy(get_label_quality_scores(labels, probabilities, method="self_confidence"))
    issues = torch.from_numpy(find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1))
    kept = (~issues).nonzero().squeeze(1)
    kept = kept[: len(kept) - (len(kept) % cell.batch_size == 1)]  # batch-norm cannot train on a batch of one
    part = {"inputs": split.inputs[kept], "targets": split.labels[kept]}
    found = detection(1 - quality, split.labels != split.clean)

    def evaluate(model: nn.Module) -> dict[str, Any]:
        return evaluation(split, model) | found

    return train(cell, split, network(cell, split), cross_entropy, evaluate=evaluate, **part)
