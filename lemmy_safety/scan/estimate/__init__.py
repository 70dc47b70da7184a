"""How long a pass over everything would take on this machine, measured on a sample before it starts."""

from lemmy_safety.scan.estimate.estimator import Estimate, Estimator
from lemmy_safety.scan.estimate.projection import Projection
from lemmy_safety.scan.estimate.survey import Survey
from lemmy_safety.scan.estimate.trial import Trial

__all__ = ["Estimate", "Estimator", "Projection", "Survey", "Trial"]
