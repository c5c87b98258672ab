"""Many short containers at once: jobs with priorities, deadlines and retries, and warm sandboxes."""

from .farm import Farm, FarmMetrics
from .job import Job, JobResult
from .pool import WarmPool

__all__ = ["Farm", "FarmMetrics", "Job", "JobResult", "WarmPool"]
