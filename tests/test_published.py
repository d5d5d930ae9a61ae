"""Published rows: their sources, and which run of ours may stand beside which."""

from decimal import Decimal

import pytest

from experiments.reporting import naming

CONFIG = {
    "dataset": "cifar10",
    "train_examples": 0,
    "augment.name": "augmix",
    "augment.concentration": 1.0,
    "labels.rule": "one_hot",
    "labels.smoothing": 0.1,
}


def changed(**changes):
    return CONFIG | {name.replace("__", "."): value for name, value in changes.items()}


def test_every_row_has_a_source_and_fractions_and_none_is_of_the_autolabel_paper():
    rows = naming.PUBLISHED
    assert (rows[["row", "dataset", "model", "source"]] != "").all(axis=None)
    fractions = rows[list(naming.PUBLISHED_METRICS)].replace("", None).astype(float)
    assert fractions.notna().any(axis=1).all() and len(rows) == 25
    assert fractions.min().min() > 0 and fractions.max().max() < 1
    assert set(rows["label_rule"]) == {"one_hot", "smoothing"}
    assert not rows["row"].str.lower().str.contains("autolabel").any()
    ours = rows[rows["augmentation"] != ""]  # no two compete for a run
    assert not ours.duplicated(["dataset", "model", "augmentation", "label_rule"]).any()


@pytest.mark.parametrize(
    ("changes", "model", "metric", "value"),
    [
        # As in the documents named; per cent there are fractions here.
        ({"augment__name": "none"}, "wide_resnet-28-10", "corrupted_ece", ".153"),
        ({"augment__name": "none", "dataset": "cifar100"}, "wide_resnet-28-10", "ece", ".0857"),
        ({}, "wide_resnet-40-2", "corrupted_accuracy", ".8882"),
        ({}, "resnet18", "accuracy", ".9550"),
        ({"augment__name": "mixup"}, "resnet18", "corrupted_accuracy", ".7947"),
        ({"augment__name": "adversarial"}, "wide_resnet-34-10", "adversarial_accuracy", ".4404"),
        (
            {"augment__name": "none", "labels__rule": "smoothing", "labels__smoothing": 0.05},
            *("wide_resnet-26-10", "ece", ".0426"),
        ),
    ],
)
def test_row_beside_a_run(changes, model, metric, value):
    row = naming.published_beside(changed(**changes), model)
    assert Decimal(row[metric]) == Decimal(value) and row["model"] == model


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({}, "wide_resnet-28-10"),  # AugMix was published with SNGP only
        ({"labels__rule": "autolabel"}, "resnet18"),
        ({"train_examples": 5000}, "resnet18"),
        ({"augment__name": "mixup", "augment__concentration": 0.2}, "resnet18"),
        ({"dataset": "digits"}, "resnet18"),
        ({"augment__name": "none", "labels__rule": "smoothing"}, "wide_resnet-26-10"),
    ],
)
def test_no_row_beside_another_run(changes, model):
    assert naming.published_beside(changed(**changes), model) is None
