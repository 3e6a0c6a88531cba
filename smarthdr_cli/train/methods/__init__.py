"""Training methods: the target and the weight that each pixel of an unlabelled burst gets.

One module a method, named like it; METHODS is the table. Importing this package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smarthdr_cli.train.methods.base import Method

METHODS = {  # a value of --method, which is also the module's name: the class in it
    "supervised": "Supervised",
    "smarthdr": "SmartHDR",
    "smae": "SMAE",
    "fshdr": "FSHDR",
    "selfhdr": "SelfHDR",
}


def method_class(name: str) -> "type[Method]":
    """The class of a method in METHODS."""
    found: type[Method] = getattr(import_module(f"{__name__}.{name}"), METHODS[name])
    return found
