"""Linear measurement operators: kernels, separable operators, operators given as functions.

The names are imported when they are first used (``__init__.pyi`` lists them), so that the table of
kernels can be read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
