"""Jobs from files to files: super-resolve volumes, simulate measurements, resample labels."""

from mrcascade.arrays.factors import factor_label
from mrcascade.jobs.batch import FileBatch, Part, file_worker
from mrcascade.jobs.common import Item, operator_for
from mrcascade.jobs.done import Done
from mrcascade.jobs.estimate import Estimator
from mrcascade.jobs.inputs import check_dataset, check_names, combined_input, find_inputs
from mrcascade.jobs.one_file import combine_stack_files, make_isotropic_file, super_resolve_file
from mrcascade.jobs.progress import SlicesDone, expected_evaluations
from mrcascade.jobs.request import Factors, Request, SuperResolution
from mrcascade.jobs.resample import Resampling, resample_file, resample_label
from mrcascade.jobs.simulate import Simulation, crop_to_legal, simulate_file

__all__ = [
    "Done",
    "Estimator",
    "Factors",
    "FileBatch",
    "Item",
    "Part",
    "Request",
    "Resampling",
    "Simulation",
    "SlicesDone",
    "SuperResolution",
    "check_dataset",
    "check_names",
    "combine_stack_files",
    "combined_input",
    "crop_to_legal",
    "expected_evaluations",
    "factor_label",
    "file_worker",
    "find_inputs",
    "make_isotropic_file",
    "operator_for",
    "resample_file",
    "resample_label",
    "simulate_file",
    "super_resolve_file",
]
