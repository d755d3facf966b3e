"""Settings that cannot be are refused in one line, which names the setting and says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from foundation.errors import UsageError
from ratenets.butd.config import PRESETS, ButdConfig, NetworkConfig, WeightConfig, for_data, preset

NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (NetworkConfig, {"kind": "vgg"}, r"network\.kind: must be one of fc, simple, conv, resnet18, tiny-resnet"),
        (NetworkConfig, {"depth": 0}, r"network\.depth: must be from 1 to 1000, got 0"),
        (NetworkConfig, {"hidden": -1}, r"network\.hidden: must be from 0 to 1000000, got -1"),
        (NetworkConfig, {"embedding": -1}, r"network\.embedding: must be from 0 to 1000000, got -1"),
        (NetworkConfig, {"channels": (3, 0)}, r"network\.channels: must be from 1 to 1000000, got \(3, 0\)"),
        (NetworkConfig, {"kind": "simple", "channels": (3,)}, r"network\.channels: simple has two .* got 1"),
        (NetworkConfig, {"kind": "tiny-resnet", "norm": True}, r"network\.norm: resnet18 alone .* not tiny-resnet"),
        (WeightConfig, {"regime": "shared"}, r"weights\.regime: must be one of tied, separate, symmetric"),
        (WeightConfig, {"regime": "symmetric", "start_noise": -0.1}, r"weights\.start_noise: must not be negative"),
        (WeightConfig, {"update_noise": NAN}, r"weights\.update_noise: must not be negative, got nan"),
        (WeightConfig, {"initial_scale": 0.0}, r"weights\.initial_scale: must be positive, got 0"),
        (WeightConfig, {"start_noise": 0.1}, r"weights\.start_noise: is of a symmetric start: --weights symmetric"),
        (WeightConfig, {"regime": "tied", "feedback_alignment": True}, r"weights\.feedback_alignment: tied weights"),
        (ButdConfig, {"learning": "hebb"}, "learning: must be one of counter-hebb, backprop, got 'hebb'"),
        (ButdConfig, {"loss": "hinge"}, "loss: must be one of cross-entropy, mse, bce, got 'hinge'"),
        (ButdConfig, {"optimizer": "rmsprop"}, "optimizer: must be one of adam, sgd, got 'rmsprop'"),
        (ButdConfig, {"batch_size": 0}, "batch_size: must be at least 1, got 0"),
        (ButdConfig, {"train_images": -1}, "train_images: must not be negative, got -1"),
        (ButdConfig, {"image_size": -1}, "image_size: must not be negative, got -1"),
        (ButdConfig, {"momentum": -0.1}, "momentum: must not be negative, got -0.1"),
        (ButdConfig, {"momentum": 0.9}, "momentum: is of sgd, not of adam"),
        (ButdConfig, {"initial_weights": "a\0b"}, "initial_weights: is no path"),
        (ButdConfig, {"learning_rate": NAN}, "learning_rate: must not be negative, got nan"),
        (ButdConfig, {"weight_decay": -1.0}, "weight_decay: must not be negative, got -1"),
        (ButdConfig, {"evaluate_every": -1}, "evaluate_every: must not be negative, got -1"),
        (ButdConfig, {"lr_decay": 0.0}, "lr_decay: must be above 0 and at most 1, got 0"),
        (ButdConfig, {"lr_decay": 1.1}, "lr_decay: must be above 0 and at most 1, got 1.1"),
        (ButdConfig, {"train_instruction": True}, "train_instruction: an unguided network .*: --guided"),
        (
            ButdConfig,
            {"learning": "backprop", "weights": WeightConfig(update_noise=0.1)},
            r"weights\.update_noise: is of Counter-Hebb updates, not of backprop's",
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_refused(kind: type, settings: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=f"^{message}"):
        kind(**settings)


def test_presets_are_the_reference_s_tables():
    """butd.md 1.10, row by row."""
    found = {
        name: (
            config.network.kind,
            config.network.hidden,
            config.guided,
            config.learning,
            config.weights.regime,
            config.network.embedding,
            config.loss,
            config.batch_size,
            config.learning_rate,
            config.run.epochs,
        )
        for name, config in ((name, preset(name)) for name in PRESETS)
    }
    ch, bp, ce = "counter-hebb", "backprop", "cross-entropy"
    assert found == {
        "mnist": ("fc", 500, False, ch, "separate", 0, ce, 20, 1e-4, 50),
        "fashion_mnist": ("fc", 500, False, ch, "separate", 0, ce, 20, 1e-4, 50),
        "cifar": ("fc", 1000, False, ch, "separate", 0, ce, 20, 1e-4, 50),
        "multi_mnist": ("simple", 50, True, bp, "tied", 50, ce, 64, 5e-4, 100),
        "celeb_a": ("resnet18", 0, True, bp, "tied", 200, "bce", 64, 5e-4, 50),
        "resnet": ("resnet18", 0, False, ch, "separate", 0, ce, 128, 1e-4, 50),
    }
    for name in PRESETS:
        config = preset(name)
        assert (config.optimizer, config.lr_decay, config.multi_decoder) == ("adam", 0.95, False)
        assert (config.network.bias, config.network.td_bias) == (True, False)
    assert preset("celeb_a").network.norm
    assert not preset("resnet").network.norm


def test_a_dataset_without_a_preset_gets_the_defaults_and_an_unknown_preset_is_refused():
    assert for_data("digits").network.kind == "fc"
    assert for_data("multi-digits").guided
    assert for_data("multi-digits").data == "multi-digits"
    with pytest.raises(UsageError, match=r"^preset: must be one of mnist"):
        preset("imagenet")
