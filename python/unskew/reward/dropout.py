"""Dropout of any model, off: what learns is what was scored, and what wrote."""

from torch import nn


def without_dropout(model: nn.Module) -> None:
    """Set every dropout probability to zero, also those that modules keep as plain numbers."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
