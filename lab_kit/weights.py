"""A network and its weights as files: JSON and safetensors, which hold arrays only and no code."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lab_kit.arrays import Signature
from lab_kit.model import Network
from lab_kit.schema import LabError


def network_from(data: dict[str, Any]) -> Network:
    """A network from the JSON of its ``asdict``."""
    signature = {**data["signature"], "cardinalities": tuple(data["signature"]["cardinalities"])}
    return Network(Signature(**signature), tuple(data["hidden"]), data["activation"], data.get("normalization", "none"))


def write_weights(path: Path, network: Network, weights: np.ndarray) -> None:
    """Writes weights by name (safetensors: arrays only, no code), under a temporary name first."""
    temporary = path.with_name(f".{path.name}")
    save_file({name: np.ascontiguousarray(part) for name, part in network.named(weights).items()}, temporary)
    os.chmod(temporary, 0o644)  # for a colleague too
    os.replace(temporary, path)


def read_weights(path: Path, network: Network) -> np.ndarray:
    """Weights as one vector, float32 ``[P]``.

    Raises:
      LabError: the file is missing or damaged, or holds another network's weights.
    """
    try:
        return network.flatten(load_file(path))
    except FileNotFoundError:
        raise LabError(f"There are no weights at {path}; train again.") from None
    except (SafetensorError, ValueError) as error:
        raise LabError(f"The weights at {path} cannot be used: {error}. Train again.") from None
