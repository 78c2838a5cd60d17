"""The model card of a packed inpainter that is pushed to a hub."""

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

_CARD = """\
---
library_name: gsjax
pipeline_tag: image-to-image
tags:
- inpainting
- jax
- gaussian-splatting
---
# {title}

An inpainter for gsjax: it fills holes in pictures with 2D Gaussians.

```
pip install "gsjax[hub]"
gsjax inpaint --checkpoint=hf:{name} --image=x.png --mask=x_mask.png --output=y.png
```

```python
import gsjax

painter = gsjax.Inpainter.load("hf:{name}")
```

`generator.safetensors` has its parameters in half precision, and `config.json` the config of the
run. Neither contains code.

| | |
|---|---|
| parameters | {parameters:,} |
| crops | {height}×{width} pixels |
| Gaussians | {gaussians} per patch of {patch}×{patch} pixels |
| semantic branch | {dino} |
| training | {steps} |

## Training data, quality, limits, license

To be written by the owner of this repository.
"""


def write_card(name: str, config: ConfigDict, generator: PyTree) -> str:
    """Returns the card's Markdown: what the config and the parameters tell, and how to use them.

    Args:
      name: OWNER/NAME.
      config: of the run.
      generator: nested dicts of arrays.
    """
    height, width = config.data.image_size
    stages = ", ".join(f"{stage} ({config.stages[stage].steps:,})" for stage in config.train.stages)
    return _CARD.format(
        title=name.partition("/")[2],
        name=name,
        parameters=sum(int(np.size(array)) for array in jax.tree.leaves(generator)),
        height=height,
        width=width,
        gaussians=config.model.gaussians,
        patch=config.model.patch_size,
        dino=config.dino.weights if config.model.semantic else "none",
        steps=f"stages, with their steps: {stages}" if stages else f"{config.train.steps:,} steps",
    )
