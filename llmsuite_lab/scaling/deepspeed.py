"""DeepSpeed's own ZeRO beside ours: the same model and optimizer, its stages 1 to 3, by a configuration of data/configs/deepspeed.

    engine = with_deepspeed(model, optimizer, "data/configs/deepspeed/zero2_cpu.json")
    engine.backward(loss(engine(ids))); engine.step()

Notable, each found the hard way with DeepSpeed 0.19.8:

- gradients are clipped to a norm of 1 unless the configuration says `"gradient_clipping": 0.0`;
- a torch optimizer needs `"zero_allow_untested_optimizer": true`, though AdamW is exact;
- on a CPU its first collective would compile C++ for two minutes, and a build that is killed leaves a lock on which every later run hangs; so
  its shared-memory collectives are switched off here, and gloo does the work;
- in float32 it keeps a second copy of the parameters for its optimizer: 20 bytes a parameter where ours holds 16.

Production: this is `deepspeed.initialize`. It is an extra of the course, which runs whole without it: pip install -c constraints.txt -e '.[deepspeed]'.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.scaling.layout import world

MISSING = "DeepSpeed is not installed; it is an extra for Linux: pip install -c constraints.txt -e '.[deepspeed]'"


def configuration(stage: int, device: str = "cpu") -> dict[str, Any]:
    """The course's configuration of a stage (1, 2, 3) for "cpu" or "gpu". Raises ValueError for another."""
    if device not in ("cpu", "gpu") or stage not in (1, 2, 3):
        raise ValueError(f'stage={stage}, device={device!r}: there are stages 1, 2 and 3, for "cpu" and "gpu"')
    return json.loads((data_dir() / "configs" / "deepspeed" / f"zero{stage}_{device}.json").read_text(encoding="utf-8"))


def with_deepspeed(model: nn.Module, optimizer: torch.optim.Optimizer, config: Mapping[str, Any] | Path) -> Any:
    """DeepSpeed's engine around a model and a torch optimizer over its parameters; every rank calls it, within a process group.

    config: what a configuration file holds, or the file. Raises LabError outside a process group and where DeepSpeed is not installed, ValueError for a
    file that holds no JSON object, and what DeepSpeed says of the configuration.
    """
    _, n = world()
    if not isinstance(config, Mapping):
        config = json.loads(Path(config).read_text(encoding="utf-8"))
    if not isinstance(config, Mapping) or not config:
        raise ValueError(f"config is a {type(config).__name__}, but DeepSpeed is configured by an object with its settings, or by a file that holds one")
    if dist.get_backend() == "gloo":
        os.environ["DS_ACCELERATOR"] = "cpu"  # before its first import
    try:
        import deepspeed
    except ImportError as error:
        raise LabError(MISSING) from error
    from deepspeed.utils import logger

    logger.setLevel("ERROR")  # 251 lines otherwise
    if dist.get_backend() == "gloo":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": str(n)}.items():
        os.environ.setdefault(name, value)  # it asks for them, though the group stands already
    deepspeed.init_distributed(dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=dict(config), dist_init_required=False)
    return engine
