"""Super-resolution of MR images with scale-cascaded diffusion priors.

The public names stand in ``__init__.pyi``. They are imported on first use, so that
``import mrcascade`` itself is instant.
"""

import lazy_loader

from mrcascade.messages.deprecation import with_former_names

__version__ = "0.1.0"

_FORMER = {"SamplerSettings": "Recipe"}  # former name -> present name

_find, __dir__, _public = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_public]
__getattr__ = with_former_names(__name__, _FORMER, _find)
