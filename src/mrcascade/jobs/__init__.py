"""Files to files: super-resolve volumes, simulate a measurement of one."""

from mrcascade.arrays.factors import factor_label
from mrcascade.jobs.batch import Batch, Done, Part
from mrcascade.jobs.common import Factors, Item, SuperResolution, operator_for
from mrcascade.jobs.estimate import Estimator
from mrcascade.jobs.inputs import check_dataset, check_names, find_inputs
from mrcascade.jobs.one_file import super_resolve_file
from mrcascade.jobs.progress import SlicesDone, expected_evaluations
from mrcascade.jobs.simulate import Simulation, crop_to_legal, simulate_file
from mrcascade.jobs.sr import check_job

__all__ = [
    "Batch",
    "Done",
    "Estimator",
    "Factors",
    "Item",
    "Part",
    "Simulation",
    "SlicesDone",
    "SuperResolution",
    "check_dataset",
    "check_job",
    "check_names",
    "crop_to_legal",
    "expected_evaluations",
    "factor_label",
    "find_inputs",
    "operator_for",
    "simulate_file",
    "super_resolve_file",
]
