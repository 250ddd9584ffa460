"""Linear measurement operators: kernels, separable operators, operators given as functions.

``__init__.pyi`` lists the names. Each is imported on first use, so that the table of kernels can be
read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
