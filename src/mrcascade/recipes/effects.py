"""Which settings have an effect on a result, by what computes it.

``tests/sampling/test_sampling_effects.py`` changes each setting of each kind and compares bits.
"""

_LEVELS = ("consistency", "band_constraint", "condition_error")  # of a cascade
_SCHEDULE = ("skip_determined", "step_shares", "redistribute", "project")
_CHAIN = ("sigma_start", "sigma_min", "rho", "orientations", "spread")
_CASCADE_CHAIN = (*_LEVELS, *_SCHEDULE, *_CHAIN, "start_at_mean", "detail")
_DATA_STEP = ("zeta", "lam", "noise_floor")  # of DiffPIR

#: Settings with an effect on the posterior mean (``steps`` is None) and on each sampler.
EFFECTS: dict[str, frozenset[str]] = {
    "mean": frozenset((*_LEVELS, "orientations", "project")),
    "diffpir": frozenset((*_CASCADE_CHAIN, *_DATA_STEP, "start_at_data", "observed_zeta")),
    "dps": frozenset((*_CASCADE_CHAIN, "step_size")),
    "multigrid": frozenset((*_SCHEDULE, *_CHAIN, *_DATA_STEP, "grids")),
    "multigrid-pnp": frozenset((*_SCHEDULE, "grids", "pnp_sigma", "pnp_step", "pnp_corrections")),
}
