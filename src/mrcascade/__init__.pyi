from .arrays.intensity import Intensity
from .errors import MRCascadeError
from .io.geometry import resampled_affine
from .io.image import Image, read_image
from .io.labels import read_labels
from .io.resample import resample_onto
from .io.save import write_image
from .jobs.one_file import combine_stack_files, make_isotropic_file, super_resolve_file
from .measurement.simulate import simulate
from .operators.base import LinearOperator
from .operators.iterative import CallableOperator
from .operators.kernels import KERNELS, Kernel, register_kernel
from .operators.profile import SliceProfile
from .operators.pyramid import LaplacianPyramid
from .operators.separable import IdentityOperator, SeparableOperator
from .prior.cascade import CascadePrior
from .prior.format import list_priors
from .recipes.settings import RECIPES, Recipe
from .restore import Plan, Restoration, Restorer, super_resolve

__version__: str

__all__ = [
    "KERNELS",
    "RECIPES",
    "CallableOperator",
    "CascadePrior",
    "IdentityOperator",
    "Image",
    "Intensity",
    "Kernel",
    "LaplacianPyramid",
    "LinearOperator",
    "MRCascadeError",
    "Plan",
    "Recipe",
    "Restoration",
    "Restorer",
    "SeparableOperator",
    "SliceProfile",
    "__version__",
    "combine_stack_files",
    "list_priors",
    "make_isotropic_file",
    "read_image",
    "read_labels",
    "register_kernel",
    "resample_onto",
    "resampled_affine",
    "simulate",
    "super_resolve",
    "super_resolve_file",
    "write_image",
]
